"""Write annotated images and videos."""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.media.images import IMAGE_SUFFIXES, write_image
from mmpnet.media.video_writer import VIDEO_CODECS, VideoFile
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.file_names import make_folder, named_after
from mmpnet.runtime.sources.frame import Frame, Kind, Source
from mmpnet.runtime.sources.options import STALE_AFTER_S
from mmpnet.system.files import is_folder

LOST_GAP_S = 1.0
"""What stands in the video for a gap in which a live source was stale or lost; shorter gaps keep their length."""
LONGEST_FILE_GAP_S = 3600.0
"""A longer gap between two frames of a file is taken for a mistake of its clock, and left out."""

MOST_LISTED = 1000
"""How many names of finished files are kept, so that the memory of a run of months stays the same."""
SAVED_SUFFIXES = IMAGE_SUFFIXES | frozenset(VIDEO_CODECS)
"""Files with these suffixes keep their names in the folder of --save."""


class SaveSink(Sink):
    """Writes annotated images and videos: one file for a single source, or a folder with one file per source.

    A video plays as its source did: frames are repeated if fewer came than its rate, and left out if more came, by the
    times in the file or of the capture. A live source that gives no frame for `stale_after_s` is lost, and the time
    until it comes back is not recorded. If the frame size changes, a new file starts. Recordings of live sources are
    never replaced: if a file with the name exists, the new name includes the time. After `segment_s` the recording of a
    live source goes on in another file, whose name includes the time, so that a kill costs one segment at most.
    Another thread finishes it and reads it back, so that the next file has all frames.
    """

    wants_annotated = True

    def __init__(
        self,
        out: Path,
        *,
        many_files: bool,
        sources: Sequence[Path] = (),
        stale_after_s: float = STALE_AFTER_S,
        segment_s: float = math.inf,
    ) -> None:
        self._out = out
        self._segment_s = segment_s
        self._stale_after_s = stale_after_s
        self._many_files = many_files
        self._sources = frozenset(source.resolve() for source in sources)
        self._recordings: dict[int, _Recording] = {}
        self._taken: set[Path] = set()
        self._refused: dict[int, OutputError] = {}
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish-videos")
        self._finishing: deque[tuple[Frame, Future[None]]] = deque()
        self.written: list[Path] = []

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        assert annotated_bgr is not None
        frame = result.frame
        if frame.stream in self._refused:
            return True
        while self._finishing and self._finishing[0][1].done():
            finished, future = self._finishing.popleft()
            self._guarded(finished, future.result)
        self._guarded(frame, lambda: self._save(frame, annotated_bgr))
        return True

    def _guarded(self, frame: Frame, save: Callable[[], None]) -> None:
        """Save; an error stops the recording of this camera, if there are others. `close` then raises it."""
        try:
            save()
        except OutputError as error:
            if not (self._many_files and frame.kind == "camera"):
                raise
            logging.getLogger(__name__).warning("%s is not recorded any more: %s", frame.source, error)
            self._refused[frame.stream] = error
            if frame.stream in self._recordings:
                self._finish(frame)

    def _save(self, frame: Frame, annotated_bgr: UInt8Array) -> None:
        if frame.kind == "image":
            path = self._path(frame, known=IMAGE_SUFFIXES, default=".jpg")
            write_image(path, annotated_bgr)
            self.written.append(path)
            return
        recording = self._recordings.get(frame.stream)
        full = recording is not None and frame.kind == "camera" and recording.length_s(frame) >= self._segment_s
        if recording is not None and (full or not recording.goes_on_with(frame, annotated_bgr)):
            self._finish(frame)
            recording = None
        if recording is None:
            default = ".mkv" if frame.kind == "camera" else ".mp4"
            path = self._path(frame, known=frozenset(VIDEO_CODECS), default=default, dated=full)
            video = VideoFile(path, fps=frame.fps, frame_hw=_hw(annotated_bgr))
            recording = self._recordings[frame.stream] = _Recording(video, frame, self._stale_after_s)
        recording.append(frame, annotated_bgr)

    def close(self) -> None:
        failed = next(iter(self._refused.values()), None)
        self._finisher.shutdown()
        calls = [future.result for _, future in self._finishing]
        calls += [partial(self._close_video, recording.video) for recording in self._recordings.values()]
        for call in calls:
            try:
                call()
            except OutputError as error:  # still finish the other videos
                failed = failed or error
        if failed is not None:
            raise failed

    def _finish(self, frame: Frame) -> None:
        """Finish the video of a frame's source; that of a live source later, as reading it back takes a second."""
        video = self._recordings.pop(frame.stream).video
        if frame.kind == "camera":
            self._finishing.append((frame, self._finisher.submit(self._close_video, video)))
        else:
            self._close_video(video)

    def _close_video(self, video: VideoFile) -> None:
        empty = video.is_empty
        video.close()
        if not empty:
            self.written.append(video.path)
            del self.written[:-MOST_LISTED]

    def _path(self, frame: Frame, *, known: frozenset[str], default: str, dated: bool = False) -> Path:
        check_name(self._out, many_files=self._many_files, kind=frame.kind, source=frame.source)
        folder = self._out if self._many_files else self._out.parent
        make_folder(folder, option=f"--save {self._out}")
        stem, suffix = (named_after(frame), default) if self._many_files else (self._out.stem, self._out.suffix)
        if self._many_files and Path(frame.source).suffix.lower() in known and frame.kind != "camera":
            suffix = Path(frame.source).suffix
        path, number = folder / f"{stem}{suffix}", 1
        recorded = frame.kind == "camera"  # live frames cannot be recorded again, so older files are kept
        if dated or (recorded and os.path.lexists(path) and path not in self._taken):
            stem = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
            path = folder / f"{stem}{suffix}"
        # Files with one name from several folders, and frames of another size, get different names.
        while path in self._taken or (recorded and os.path.lexists(path)):
            number += 1
            path = folder / f"{stem}-{number}{suffix}"
        self._taken.add(path)
        if path.resolve() in self._sources:
            raise OutputError(f"--save {path}: is also a source; choose another name or folder")
        return path


class _Recording:
    """One video being written, and its position in time."""

    def __init__(self, video: VideoFile, first: Frame, stale_after_s: float) -> None:
        self.video = video
        self._source = first.source
        self._fps = first.fps
        self._live = first.kind == "camera"
        self._longest_gap_s = max(stale_after_s, LOST_GAP_S) if self._live else LONGEST_FILE_GAP_S
        self._began_s = first.clock_s
        self._last_s = first.clock_s
        self._first_s = first.clock_s
        self._count = 0
        self._before: UInt8Array | None = None

    def length_s(self, frame: Frame) -> float:
        """Seconds from the first frame to this one."""
        return frame.clock_s - self._first_s

    def goes_on_with(self, frame: Frame, annotated_bgr: UInt8Array) -> bool:
        return frame.source == self._source and self.video.frame_hw == _hw(annotated_bgr)

    def append(self, frame: Frame, annotated_bgr: UInt8Array) -> None:
        """Append a frame as often as the video's clock requires: the previous one is repeated until its time.

        A frame that comes before its time is left out. In a file, single frames may be early or late by one place, as
        its times are rounded.
        """
        gap_s, self._last_s = frame.clock_s - self._last_s, frame.clock_s
        if gap_s < 0:  # a file is repeated
            self._began_s = frame.clock_s - self._count / self._fps
        elif gap_s > self._longest_gap_s:
            self._began_s += gap_s - LOST_GAP_S - 1 / self._fps
        place = round((frame.clock_s - self._began_s) * self._fps)
        if not self._live and abs(place - self._count) <= 1:
            place = self._count
        if place < self._count:
            return
        while self._before is not None and self._count < place:
            self._write(self._before)
        self._write(annotated_bgr)
        self._keep(annotated_bgr)

    def _write(self, frame_bgr: UInt8Array) -> None:
        self.video.write(frame_bgr)
        self._count += 1

    def _keep(self, frame_bgr: UInt8Array) -> None:
        if self._before is None:
            self._before = np.empty_like(frame_bgr)
        np.copyto(self._before, frame_bgr)


def is_many(out: Path, sources: Sequence[Source]) -> bool:
    """Whether `out` is a folder for several files, instead of one file."""
    return len(sources) > 1 or any(source.many_files for source in sources) or is_folder(out)


def check_name(out: Path, *, many_files: bool, kind: Kind, source: str) -> None:
    """Raises: OutputError if the result of this source cannot have this name."""
    known = IMAGE_SUFFIXES if kind == "image" else frozenset(VIDEO_CODECS)
    suffix = out.suffix.lower()
    if many_files and suffix in SAVED_SUFFIXES and not is_folder(out):
        raise OutputError(f"--save {out}: is a file name, but several files need a folder; give a folder")
    if not many_files and suffix not in known:
        expected = " ".join(sorted(known))
        article = "an" if kind == "image" else "a"
        raise OutputError(f"--save {out}: {source} is {article} {kind}; expected one of {expected}")


def _hw(frame_bgr: UInt8Array) -> tuple[int, int]:
    return frame_bgr.shape[0], frame_bgr.shape[1]
