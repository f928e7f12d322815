"""What an archive run costs: against a plain loop, by number of workers, and in the memory of the driver."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from harness.frames import camera_frame, shifted_frames
from mmpnet.archive.ray_engine import EngineOptions, ray_workers
from mmpnet.archive.reading import BATCH, batched
from mmpnet.archive.recordings import Recording, find_recordings
from mmpnet.archive.run import Watcher, prepare_folder, run_archive
from mmpnet.archive.settings import Settings
from mmpnet.archive.tasks import Outcome, Task
from mmpnet.archive.worker import Execute, Worker
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.sources.video_file import video_frames
from mmpnet.system.files import file_sha256
from mmpnet.system.progress import no_notice

FPS = 25
HOURS = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of reading, detecting and writing frames in one process; cpu_s does not depend on what else runs."""

    frames: int
    wall_s: float
    cpu_s: float

    @property
    def ms_per_frame(self) -> float:
        """Processor time of a frame."""
        return 1e3 * self.cpu_s / self.frames


def write_videos(folder: Path, *, count: int, seconds: float, frame_size: str) -> list[Recording]:
    """MPEG-4 videos of the sample image, moved sideways."""
    frames = shifted_frames(camera_frame(frame_size))
    for number in range(count):
        path = folder / f"camera{number}" / "video.mp4"
        path.parent.mkdir(parents=True)
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
        for index in range(round(seconds * FPS)):
            writer.write(frames[index % len(frames)])
        writer.release()
    return find_recordings([str(folder)])


def write_small_videos(folder: Path, count: int) -> list[Recording]:
    """Many names for one video of two frames of 64x48 px."""
    (first,) = write_videos(folder / "0", count=1, seconds=2 / FPS, frame_size="64x48")
    for number in range(1, count):
        os.link(first.path, Path(first.path).with_name(f"video{number}.mp4"))
    return find_recordings([str(folder)])


def settings_of(model: Path, *, track: bool) -> Settings:
    """Settings of an archive run with the model's own thresholds."""
    with Detector(model, provider="cpu", threads=1) as detector:
        own = detector.thresholds
        return Settings(
            model_name=model.name,
            model_sha256=file_sha256(model),
            class_names=tuple(detector.class_names),
            conf=own.conf,
            iou=own.iou,
            max_det=own.max_det,
            track=track,
        )


def reading(recordings: Sequence[Recording]) -> Cost:
    """Reading and decoding the frames, and nothing else."""
    began_s, began_cpu_s, frames = time.perf_counter(), time.process_time(), 0
    for one in recordings:
        frames += sum(1 for _ in video_frames(Path(one.path), stride=1, notify=no_notice))
    return Cost(frames, time.perf_counter() - began_s, time.process_time() - began_cpu_s)


def plain_loop(recordings: Sequence[Recording], model: Path, *, conf: float | None = None) -> Cost:
    """Detector.batch over the same frames in the same batches, and nothing else."""
    with Detector(model, provider="cpu", threads=1, spin=False) as detector:
        own = detector.thresholds
        chosen = detector.with_thresholds(Thresholds(conf=conf or own.conf, iou=own.iou, max_det=own.max_det))
        chosen.warm_up()
        began_s, began_cpu_s, frames = time.perf_counter(), time.process_time(), 0
        for one in recordings:
            for batch in batched(video_frames(Path(one.path), stride=1, notify=no_notice), BATCH):
                frames += len(chosen.batch([frame.pixels_bgr for frame in batch]))
        return Cost(frames, time.perf_counter() - began_s, time.process_time() - began_cpu_s)


def in_one_process(recordings: Sequence[Recording], model: Path, out: Path, *, track: bool) -> Cost:
    """An archive run whose tasks are done in this process: what workers do, without Ray."""
    settings = settings_of(model, track=track)

    def execute(tasks: list[Task]) -> Iterator[Outcome]:
        yield from map(worker, tasks)

    with prepare_folder(out, model, settings, resume=False):
        worker = Worker(out, settings, provider="cpu", threads=1)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        manifest = run_archive(recordings, out, execute)
        return Cost(manifest.frames, time.perf_counter() - began_s, time.process_time() - began_cpu_s)


def loop_conf(settings: Settings) -> float:
    """The threshold of a plain loop that finds as many boxes as tracking needs."""
    return min(LOW_CONF, settings.conf)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts in the block, on the first of its cores.

    Otherwise one worker would use the cores of others: to decode, and for Ray's own processes.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def by_ray(
    recordings: Sequence[Recording], model: Path, out: Path, *, workers: int, kill: bool = False
) -> dict[str, Any]:
    """An archive run by Ray on as many cores of this machine as there are workers, for all its processes together.

    Ray takes seconds to start, so time and frames are counted from the moment when each worker has done a file. The
    resident memory of this process is noted at each tenth of the tasks. kill: end a worker in the middle.
    """
    settings = settings_of(model, track=False)
    seen: list[tuple[float, int]] = []
    memory_mb: list[float] = []
    began_s = time.perf_counter()

    def watch(progress: Any) -> None:
        seen.append((time.perf_counter(), progress.frames))
        if len(seen) % max(len(recordings) // 10, 1) == 0:
            memory_mb.append(round(resident_mb(), 1))

    shutil.rmtree(out, ignore_errors=True)
    options = EngineOptions(workers=workers, provider="cpu")
    with (
        pinned(workers),
        prepare_folder(out, model, settings, resume=False),
        ray_workers(out, settings, options) as execute,
    ):
        run_archive(recordings, out, killing(execute) if kill else execute, watcher=Watcher(progress=watch))
    (first_s, first), (last_s, last) = seen[min(workers, len(seen)) - 1], seen[-1]
    return {
        "workers": workers,
        "killed": kill,
        "files": len(recordings),
        "frames": last,
        "seconds_to_first_outcome": round(seen[0][0] - began_s, 1),
        "seconds": round(last_s - first_s, 1),
        "files_per_second": round((len(seen) - min(workers, len(seen))) / max(last_s - first_s, 1e-9), 1),
        "frames_per_second": round((last - first) / max(last_s - first_s, 1e-9), 1),
        "driver_memory_mb": memory_mb,
    }


def driver_alone(recordings: Sequence[Recording], model: Path, out: Path) -> dict[str, Any]:
    """What the driver itself needs to hand out files and to count: its workers do nothing, and there is no Ray."""
    memory_mb: list[float] = []
    seen = 0

    def execute(tasks: list[Task]) -> Iterator[Outcome]:
        yield from (Outcome(task, frames=1, video_s=1 / FPS) for task in tasks)

    def watch(_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % max(len(recordings) // 10, 1) == 0:
            memory_mb.append(round(resident_mb(), 1))

    with prepare_folder(out, model, settings_of(model, track=False), resume=False):
        began_cpu_s = time.process_time()
        run_archive(recordings, out, execute, watcher=Watcher(progress=watch))
        ms_per_file = 1e3 * (time.process_time() - began_cpu_s) / len(recordings)
    return {"files": len(recordings), "ms_per_file": round(ms_per_file, 3), "driver_memory_mb": memory_mb}


def killing(execute: Execute) -> Execute:
    """Ends a worker process with SIGKILL when half of the tasks are done."""

    def executed(tasks: list[Task]) -> Iterator[Outcome]:
        for number, outcome in enumerate(execute(tasks), 1):
            if number == len(tasks) // 2:
                os.kill(int(outcome.worker.rpartition(":")[2]), signal.SIGKILL)
            yield outcome

    return executed


def resident_mb() -> float:
    """Resident memory of this process, or its highest value where the system does not tell the current one."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def on_paper(ms_per_frame: float, *, cores: int, price_per_core_hour: float, efficiency: float) -> list[dict[str, Any]]:
    """Time and price of 1,000 hours of video at 25 frames/s for 1, 10 and 100 machines."""
    core_hours = HOURS * FPS * ms_per_frame / 1e3 / efficiency
    return [
        {
            "machines": machines,
            "hours": round(core_hours / (machines * cores), 2),
            "core_hours": round(core_hours),
            "price": round(core_hours * price_per_core_hour, 2),
        }
        for machines in (1, 10, 100)
    ]
