"""Record people, not time: clips of live sources while somebody is there, and the best crop of each person."""

import logging
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import counted
from mmpnet.media.h264 import ClipFile, require_encoder
from mmpnet.media.images import write_image
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.recordings.best_crops import BestCrop, BestCrops
from mmpnet.runtime.recordings.frame_queue import MOST_WAITING_BYTES, FrameQueue
from mmpnet.runtime.recordings.names import CLIP_SUFFIX, CROP_SUFFIX, recording_path
from mmpnet.runtime.recordings.presence_recorder import PresenceRecorder, RecordTimes
from mmpnet.runtime.recordings.retention import Keep, Retention
from mmpnet.runtime.sinks.file_names import in_file_name, make_folder
from mmpnet.runtime.sources.frame import Frame

PERSON = "person"
LEAST_FREE_BYTES = 64 << 20
TICK_S = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Camera:
    source: str
    recorder: PresenceRecorder
    crops: BestCrops
    failed: bool = False


class RecordSink(Sink):
    """Writes H.264 clips of live sources, from some seconds before a confirmed person until some seconds after.

    A thread of its own encodes and writes, and another one finishes long clips. The run never waits for them: images
    that come while too many wait are left out of the clip, and counted. The images are those that the sinks get: with
    --blur, people in them are pixelated. A full disk or a file that cannot be written ends one clip, not the run.
    crops: also write the best crop of each person.

    Raises: MissingExtraError without the [record] extra, OutputError if the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        *,
        times: RecordTimes,
        keep: Keep,
        crops: bool = True,
        most_waiting_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        require_encoder()
        make_folder(folder, option=f"--record {folder}")
        self._folder = folder
        self._class_names = class_names
        self._times = times
        self._crops = crops
        people = [index for index, name in enumerate(class_names) if name == PERSON]
        self._class_ids = people or list(range(len(class_names)))
        self._retention = Retention(folder, keep)
        self._cameras: dict[int, _Camera] = {}
        self._frames = FrameQueue(most_waiting_bytes)
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish-clips")
        self._finishing: list[tuple[Path, Future[None]]] = []
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)
        self._thread.start()

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        if self._fault is not None:
            raise self._fault
        source = result.frame.source
        if not self._frames.put(result) and self._frames.left_out[source] == 1:
            _LOG.warning("%s: frames are left out of the recording, as this machine encodes too slowly", source)
        return True

    def close(self) -> None:
        self._frames.end()
        self._thread.join()
        failed: OutputError | None = None
        for camera in self._cameras.values():
            try:
                for crop in camera.crops.end():
                    self._save(camera.source, crop)
                camera.recorder.close()
            except OutputError as error:  # still finish the other clips
                failed = failed or error
        self._finisher.shutdown()
        for fault in self._finished():
            failed = failed or fault
        for source, count in self._frames.left_out.items():
            _LOG.warning("%s: %s left out of the recording", source, counted(count, "frame"))
        if self._fault is not None:
            raise self._fault
        if failed is not None:
            raise failed

    def _work(self) -> None:
        """Record all results until the queue has ended; an unexpected error ends the run."""
        try:
            while not self._frames.is_finished:
                result = self._frames.get(TICK_S)
                if result is not None:
                    self._record(result)
                for error in self._finished():
                    _LOG.error("%s", error)
                self._retain()
        except BaseException as fault:  # noqa: BLE001 - the thread of the run raises it
            self._fault = fault
            self._frames.end()

    def _record(self, result: Result) -> None:
        frame = result.frame
        camera = self._cameras.get(frame.stream)
        if camera is None:
            recorder = PresenceRecorder(partial(self._new_clip, frame.source), self._times, finish=self._finish_later)
            camera = self._cameras[frame.stream] = _Camera(frame.source, recorder, BestCrops())
        try:
            camera.recorder.add(
                frame.pixels_bgr,
                frame.clock_s,
                frame.captured_at,
                present=somebody_in(result, self._class_ids),
                fps=frame.fps,
            )
            for crop in camera.crops.update(result) if self._crops else ():
                self._save(frame.source, crop)
        except OutputError as error:
            self._report(frame, camera, error)
        else:
            camera.failed = False

    def _finish_later(self, clip: ClipFile) -> None:
        self._finishing.append((clip.path, self._finisher.submit(clip.close)))

    def _finished(self) -> list[OutputError]:
        """Forget the clips that are finished; returns what went wrong."""
        ended = [one for one in self._finishing if one[1].done()]
        self._finishing = [one for one in self._finishing if one not in ended]
        errors = [future.exception() for _, future in ended]
        for error in errors:
            if error is not None and not isinstance(error, OutputError):
                raise error
        return [error for error in errors if isinstance(error, OutputError)]

    def _new_clip(self, source: str, began: datetime) -> Path:
        path = recording_path(self._folder, _file_name(source), began, suffix=CLIP_SUFFIX)
        make_folder(path.parent, option=f"--record {self._folder}")
        free = shutil.disk_usage(path.parent).free
        if free < LEAST_FREE_BYTES:
            raise OutputError(f"{path}: only {free >> 20} MB are free on the disk; free space, or lower --keep")
        return path

    def _save(self, source: str, crop: BestCrop) -> None:
        what = f"{in_file_name(self._class_names[crop.class_id]) or 'object'}-{crop.track}"
        path = recording_path(self._folder, _file_name(source), crop.first_at, suffix=CROP_SUFFIX, what=what)
        make_folder(path.parent, option=f"--record {self._folder}")
        write_image(path, crop.crop_bgr)

    def _report(self, frame: Frame, camera: _Camera, error: OutputError) -> None:
        """One line when recording fails, not one for each frame."""
        if not camera.failed:
            camera.failed = True
            _LOG.error("%s: %s", frame.source, error)

    def _retain(self) -> None:
        in_use = {clip for camera in self._cameras.values() if (clip := camera.recorder.clip) is not None}
        in_use |= {path for path, _ in self._finishing}
        removed = self._retention.tick(in_use)
        if removed:
            _LOG.info("deleted %d old recordings, the last of them %s", len(removed), removed[-1].name)


def somebody_in(result: Result, class_ids: Sequence[int]) -> bool:
    """Whether a confirmed track of one of these classes is in the frame; without tracking, whether a detection is."""
    tracks, wanted = result.tracks, np.isin(result.detections.class_id, class_ids)
    if tracks is None:
        return bool(wanted.any())
    sure = tracks.confirmed if tracks.confirmed is not None else np.ones(len(tracks.ids), np.bool_)
    return bool((wanted & (tracks.ids >= 0) & sure).any())


def _file_name(source: str) -> str:
    return in_file_name(source) or "camera"
