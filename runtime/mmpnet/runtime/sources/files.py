"""Frames from image files, folders and videos."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2

from mmpnet.contract.errors import SourceError
from mmpnet.media.images import is_image, read_image
from mmpnet.runtime.sources.frame import Event, Frame, OnEvent, stamp_frame
from mmpnet.runtime.sources.video_capture import CUT_SHORT, as_bgr, grab, openable, stated_fps
from mmpnet.system.files import is_file

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"})


@dataclass(frozen=True, slots=True)
class FileSource:
    """All frames of images and videos, in order.

    `stride` n skips all but every n-th frame of a video; `loop` repeats the files endlessly.
    """

    paths: tuple[Path, ...]
    many_files: bool
    name: str = ""
    stride: int = 1
    loop: bool = False
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), _nobody)

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """Every frame in order. A file that cannot be read completely is reported, and the next one follows.

        Raises: SourceError of the first such file, after all files.
        """
        failed: dict[Path, SourceError] = {}
        while not stop.is_set():
            count = 0
            for path in self.paths:
                if stop.is_set():
                    return
                try:
                    for frame in _frames_of(path, self.stride):
                        count += 1
                        yield frame
                except SourceError as error:
                    self._fail(path, error, failed, on_event)
            if not self.loop or not count:
                break
        for first in failed.values():
            raise SourceError(f"{len(failed)} of {len(self.paths)} files cannot be read completely; the first: {first}")

    def _fail(self, path: Path, error: SourceError, failed: dict[Path, SourceError], on_event: OnEvent) -> None:
        if len(self.paths) == 1:
            raise error
        if path not in failed:
            failed[path] = error
            on_event(Event(self.name, "notice", datetime.now(UTC), str(error)))


def _frames_of(path: Path, stride: int) -> Iterator[Frame]:
    if not is_image(path):
        yield from _video_frames(path, stride)
        return
    began_s = time.perf_counter()
    pixels_bgr = read_image(path)
    yield stamp_frame(pixels_bgr, source=str(path), kind="image", fps=0.0, started_s=began_s)


def _video_frames(path: Path, stride: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(openable(str(path)))
    try:
        if not capture.isOpened():
            size = f"{path.stat().st_size} bytes" if is_file(path) else "the file is gone"
            raise SourceError(f"{path}: OpenCV cannot open it as a video ({size}); expected a video file")
        fps = stated_fps(capture)
        count = damaged = 0
        while True:
            began_s = time.perf_counter()
            passed_over = grab(capture)
            if passed_over is None:
                break
            damaged += passed_over
            count += 1
            if (count - 1) % stride:
                continue
            delivered, pixels = capture.retrieve()
            if not delivered:
                damaged += 1
                continue
            index = count - 1 + damaged
            pixels_bgr = as_bgr(pixels)
            yield stamp_frame(
                pixels_bgr, source=str(path), kind="video", fps=fps / stride, started_s=began_s, index=index
            )
        if not count:
            raise SourceError(f"{path}: the video has no readable frame; it may be truncated or of an unknown codec")
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if damaged:
            raise SourceError(f"{path}: skipped {damaged} damaged frames, read {count}; copy the file again")
        if count < CUT_SHORT * stated:
            raise SourceError(f"{path}: ended after {count} of {stated:.0f} frames; the file may be truncated")
    finally:
        capture.release()


def _nobody(_: Event) -> None:
    """Ignore the event, as files raise none."""
