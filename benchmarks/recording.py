"""Find out whether recording leaks: memory over many frames, with visits that come and go. Linux only.

No detector runs: --pace frames come in a second, which the encoder must keep up with, as frames that it cannot take are
left out and the memory of encoding would not be seen. People are in a third of them, so that clips begin and end all
the time. The clips go to a temporary folder that --keep holds small. Growth is the rise of a line (Theil-Sen)
after the first tenth. Exit code 1 where memory grows by more than --most-mb.
"""

import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from harness.frames import camera_frame, shifted_frames
from harness.live.soak import open_resources
from harness.live.trends import Sample, growth
from harness.script import FrameSize, Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.recordings.names import recordings_in
from mmpnet.runtime.recordings.presence_recorder import RecordTimes
from mmpnet.runtime.recordings.retention import parse_keep
from mmpnet.runtime.sinks.record import RecordSink
from mmpnet.runtime.sources.frame import Frame
from mmpnet.system.machine import resident_memory_mb
from mmpnet.system.timing import CpuClock

app = script_app()
FPS = 10.0
VISIT, PAUSE = 150, 300
"""Frames with somebody, then frames without."""
BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


@app.command()
def recording(
    frames: Annotated[int, typer.Option(min=1000, help="Frames to record.")] = 20_000,
    samples: Annotated[int, typer.Option(min=10, help="Samples of the memory.")] = 100,
    frame_size: FrameSize = "640x360",
    pace: Annotated[float, typer.Option(min=1, help="Frames in a second.")] = 150.0,
    most_mb: Annotated[float | None, typer.Option(min=0, help="Fail if memory grows by more than this.")] = None,
    as_json: Json = False,
) -> None:
    """Record many visits and sample the process."""
    with exit_on_error():
        if resident_memory_mb() is None:
            raise MmpnetError("this system does not report the memory of a process; recording.py needs Linux")
        images = shifted_frames(camera_frame(frame_size))
        with tempfile.TemporaryDirectory() as folder:
            result = _record(Path(folder), images, frames, samples, pace)
        line = growth([Sample(**one) for one in result["samples"]])
        result = {
            "frame": frame_size,
            **result,
            "growth": {"rise_mb": round(line.rise_mb, 2), "mb_per_1000_frames": round(line.mb_per_1000_frames, 4)},
            "machine": machine_document(),
        }
        show(_table(result))
        if as_json:
            write_json(result)
        if most_mb is not None and line.rise_mb > most_mb:
            raise MmpnetError(f"memory grew by {line.rise_mb:.1f} MB after the first tenth; allowed are {most_mb:g} MB")


def _record(folder: Path, images: Any, frames: int, samples: int, pace: float) -> dict[str, Any]:
    sink = RecordSink(folder, ("background", "person"), times=RecordTimes(), keep=parse_keep(["50MB"]))
    taken: list[dict[str, Any]] = []
    times_ms: list[float] = []
    clock, began_s, every = CpuClock(), time.perf_counter(), max(frames // samples, 1)
    for index in progress_bar(range(frames), "recording"):
        time.sleep(max(began_s + index / pace - time.perf_counter(), 0))
        result = _result(images[index % len(images)], index)
        before_s = time.thread_time()
        sink.write(result, None)
        times_ms.append((time.thread_time() - before_s) * 1e3)
        if (index + 1) % every == 0:
            latency_ms = float(np.median(times_ms[-every:]))
            sample = Sample(
                index + 1,
                round(time.perf_counter() - began_s, 2),
                round(resident_memory_mb() or 0.0, 2),
                round(clock.percent(), 1),
                round(latency_ms, 3),
                **open_resources(),
            )
            taken.append({name: getattr(sample, name) for name in sample.__dataclass_fields__})
    sink.close()
    written = list(recordings_in(folder))
    return {
        "frames": frames,
        "cpu_ms_per_frame": {f"p{rank}": round(float(np.percentile(times_ms, rank)), 2) for rank in (50, 99)},
        "clips_left": sum(one.is_clip for one in written),
        "left_mb": round(sum(one.size_bytes for one in written) / 1e6, 1),
        "samples": taken,
    }


def _result(frame_bgr: Any, index: int) -> Result:
    people = 1 if index % (VISIT + PAUSE) < VISIT else 0
    boxes = np.tile(np.array([[100, 50, 200, 300]], np.float32), (people, 1))
    found = Detections(boxes, np.full(people, 0.8, np.float32), np.ones(people, np.int64))
    at = BEGAN + timedelta(seconds=index / FPS)
    frame = Frame(frame_bgr, source="door", kind="camera", fps=FPS, captured_at=at, captured_s=index / FPS)
    track = np.full(people, index // (VISIT + PAUSE) + 1)
    tracks = Tracks(track, None, lambda *_: None, confirmed=np.ones(people, np.bool_))
    return replace(Result(frame, found, found, StageTimes(0, 0, 0)), tracks=tracks, index=index)


def _table(result: dict[str, Any]) -> Table:
    table = Table("", "first", "last", "", box=None, padding=(0, 1, 0, 0))
    first, last = result["samples"][0], result["samples"][-1]
    rise = f"{result['growth']['rise_mb']:+.1f} MB after the first tenth of {result['frames']} frames"
    table.add_row("memory MB", f"{first['memory_mb']:.1f}", f"{last['memory_mb']:.1f}", rise)
    table.add_row("descriptors", str(first["descriptors"]), str(last["descriptors"]), "")
    cost = result["cpu_ms_per_frame"]
    table.add_row("CPU ms per frame", f"{cost['p50']:.2f}", f"{cost['p99']:.2f}", "p50 and p99")
    table.add_row("clips left", str(result["clips_left"]), f"{result['left_mb']:.1f}", "MB")
    return table


if __name__ == "__main__":
    app()
