"""What one worker process does with a task: it has a detector, and writes finished files into the output folder."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mmpnet.archive.attempts import Attempts
from mmpnet.archive.places import Place, discard, exists, reading, writing
from mmpnet.archive.reading import (
    BATCH,
    DetectedFrame,
    PartsDisagreeError,
    batched,
    detect_part,
    detect_whole,
    joined,
    providers_of,
)
from mmpnet.archive.recordings import Recording
from mmpnet.archive.settings import MODEL_FILE, Settings
from mmpnet.archive.splitting import split_video
from mmpnet.archive.tasks import Failure, ImageGroup, JoinVideo, Outcome, SplitVideo, Task, VideoPart
from mmpnet.archive.writing import FileRecord, FrameWriter, result_path, untracked, write_tracked
from mmpnet.contract.errors import MmpnetError, OutputError, SourceError, first_line
from mmpnet.contract.thresholds import Thresholds
from mmpnet.media.images import read_image
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.sources.video_capture import silence_opencv
from mmpnet.system.addresses import fetch
from mmpnet.system.files import file_sha256

WORK = ".work"
"""Folder of unfinished results, which no reader of results looks into; it is removed at the end of a run."""


OpenDetector: TypeAlias = Callable[..., Detector]
"""Makes a detector with the arguments of Detector."""


class Worker:
    """Does one task at a time with one detector.

    folder: of the results, which has the model. An error of one file is part of the outcome; an error that ends the
    run, such as a full disk, is its `fatal`.

    Raises: ContractError, DeviceError if the model cannot be opened.
    """

    def __init__(
        self,
        folder: Place,
        settings: Settings,
        *,
        provider: Provider = "auto",
        threads: int = 1,
        open_detector: OpenDetector = Detector,
    ) -> None:
        silence_opencv()
        self._folder = folder
        self._settings = settings
        self._attempts = Attempts(folder / WORK)
        model = folder / MODEL_FILE
        thresholds = Thresholds(conf=settings.conf, iou=settings.iou, max_det=settings.max_det)
        with reading(model) as local:
            if file_sha256(local) != settings.model_sha256:
                raise OutputError(f"{model}: is not the model of this run; restore it, or start in another folder")
            self._detector = open_detector(local, provider=provider, threads=threads, spin=False, thresholds=thresholds)
        self._video_detector = self._detector
        if settings.track:
            wide = Thresholds(conf=min(LOW_CONF, settings.conf), iou=settings.iou, max_det=settings.max_det)
            self._video_detector = self._detector.with_thresholds(wide)

    def __call__(self, task: Task) -> Outcome:
        """Do the task. What is done already is not done again, but reported again."""
        try:
            outcome = self._attempts.counted(task.name, lambda: self._do(task))
            if outcome is None:
                reason = f"the worker process died {self._attempts.most} times while it read this file"
                outcome = Outcome(task, failures=tuple(_failures(task, reason)))
        except OutputError as error:
            outcome = Outcome(task, fatal=str(error))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                outcome = Outcome(task, fatal=f"{self._folder}: {first_line(error)}; free space, then use --resume")
            else:
                outcome = Outcome(task, failures=tuple(_failures(task, first_line(error))))
        except MmpnetError as error:
            outcome = Outcome(task, failures=tuple(_failures(task, str(error))))
        except Exception as error:  # noqa: BLE001 - one file must not end a run of days; its reason is listed
            outcome = Outcome(task, failures=tuple(_failures(task, f"{type(error).__name__}: {first_line(error)}")))
        return replace(outcome, worker=f"{socket.gethostname()}:{os.getpid()}")

    def _do(self, task: Task) -> Outcome:
        if isinstance(task, ImageGroup):
            return self._images(task)
        if isinstance(task, SplitVideo):
            return Outcome(task, parts=split_video(task.video, task.part_s))
        if isinstance(task, VideoPart):
            return self._part(task)
        if isinstance(task, JoinVideo):
            return self._join(task)
        return self._whole(task, task.video)

    def _images(self, task: ImageGroup) -> Outcome:
        failures: list[Failure] = []

        def readable() -> Iterator[tuple[Recording, DetectedFrame]]:
            for batch in batched(task.images, BATCH):
                read = []
                for image in batch:
                    try:
                        with self._local(image) as path:
                            read.append((image, read_image(path)))
                    except SourceError as error:
                        failures.append(Failure(image.source, image.camera, str(error)))
                found = self._detector.batch([pixels for _, pixels in read])
                for (image, pixels), detections in zip(read, found, strict=True):
                    size_hw = pixels.shape[0], pixels.shape[1]
                    yield image, DetectedFrame(0, 0.0, 0.0, size_hw, detections)

        out = result_path(self._folder, task.images[0], task.name)
        with writing(out, unfinished=self._folder / WORK) as partial, FrameWriter(partial, self._settings) as writer:
            for image, frame in readable():
                writer.add(image, frame, *untracked(frame.detections))
            providers = {self._detector.provider: writer.frames}
            writer.finish(_record(task.images, writer, 0.0, failures, providers))
        if not writer.frames:
            discard(out)
        return Outcome(task, writer.frames, 0.0, writer.detections, tuple(failures), providers=providers)

    def _whole(self, task: Task, video: Recording) -> Outcome:
        notices: list[str] = []
        with self._local(video) as path:
            every = self._settings.every
            frames = detect_whole(path, self._video_detector, every=every, notify=notices.append)
            return self._write_video(task, video, frames, notices)

    def _write_video(
        self,
        task: Task,
        video: Recording,
        frames: Iterable[DetectedFrame],
        notices: Sequence[str] = (),
        providers: dict[str, int] | None = None,
    ) -> Outcome:
        """providers: number of frames by the provider that detected in them; None: all by that of this worker."""
        failures: list[Failure] = []
        last = _Last(frames)
        out = result_path(self._folder, video, video.key)
        with writing(out, unfinished=self._folder / WORK) as partial, FrameWriter(partial, self._settings) as writer:
            try:
                write_tracked(writer, video, last, self._settings)
            except SourceError as error:
                failures.append(Failure(video.source, video.camera, str(error), writer.frames))
            found = providers or {self._detector.provider: writer.frames}
            writer.finish(_record([video], writer, last.time_s, failures, found))
        if not writer.frames:
            discard(out)
        counts = writer.frames, last.time_s, writer.detections
        return Outcome(task, *counts, tuple(failures), tuple(notices), providers=found)

    def _part(self, task: VideoPart) -> Outcome:
        out = self.part_path(task)
        if exists(out):
            return Outcome(task, frames=0)
        try:
            used, found = detect_part(task, self._video_detector, out, every=self._settings.every)
        except PartsDisagreeError as error:
            # Joining finds no file of this part, and then reads the whole video.
            return Outcome(task, notices=(f"{task.video.source}: {error}; it is read again as a whole",))
        return Outcome(task, used, detections=found)

    def _join(self, task: JoinVideo) -> Outcome:
        paths = [self.part_path(part) for part in task.parts]
        if all(exists(path) for path in paths):
            frames = joined(paths, every=self._settings.every)
            outcome = self._write_video(task, task.video, frames, providers=providers_of(paths))
        else:
            outcome = self._whole(task, task.video)
        for path in paths:
            discard(path)
        return outcome

    def part_path(self, part: VideoPart) -> Place:
        """Where the results of a part are until its video is joined.

        The name tells the settings apart from those of other lengths of parts.
        """
        return self._folder / WORK / f"{part.name}-{part.first_frame}-{part.frames}-{part.video.changed_ns}.parquet"

    @contextmanager
    def _local(self, recording: Recording) -> Iterator[Path]:
        """The file on this machine; one behind an address is fetched to a temporary folder.

        Raises: SourceError if it cannot be fetched.
        """
        if not recording.is_address:
            yield Path(recording.path)
            return
        with tempfile.TemporaryDirectory(prefix="mmpnet-") as folder:
            path = Path(folder) / Path(recording.path).name
            fetch(recording.path, path, error=SourceError)
            yield path


class _Last:
    """Passes frames on, and remembers the time of the last one."""

    def __init__(self, frames: Iterable[DetectedFrame]) -> None:
        self._frames = frames
        self.time_s = 0.0

    def __iter__(self) -> Iterator[DetectedFrame]:
        for frame in self._frames:
            self.time_s = frame.time_s
            yield frame


def _record(
    recordings: Iterable[Recording],
    writer: FrameWriter,
    video_s: float,
    failures: Iterable[Failure],
    providers: dict[str, int],
) -> FileRecord:
    return FileRecord(
        sources=tuple((one.source, one.size, one.changed_ns) for one in recordings),
        failures=tuple(failures),
        frames=writer.frames,
        video_s=video_s,
        detections=writer.detections,
        providers=providers,
    )


def _failures(task: Task, reason: str) -> Iterator[Failure]:
    recordings = task.images if isinstance(task, ImageGroup) else (task.video,)
    for one in recordings:
        yield Failure(one.source, one.camera, reason)


Execute = Callable[[list[Task]], Iterator[Outcome]]
"""Does tasks in any order, on any number of workers, and yields each outcome as it comes."""
