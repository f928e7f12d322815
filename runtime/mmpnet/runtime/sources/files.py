"""Frames from image files, folders and videos."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from mmpnet.contract.errors import SourceError
from mmpnet.media.image_pages import image_count
from mmpnet.media.images import is_image, read_image
from mmpnet.runtime.sources.frame import Event, Frame, OnEvent, stamp_frame
from mmpnet.runtime.sources.video_file import video_frames

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".3gp",
        ".3g2",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".m2v",
        ".vob",
        ".ts",
        ".mts",
        ".m2ts",
        ".wmv",
        ".asf",
        ".flv",
        ".ogv",
        ".gif",
        ".h264",
        ".264",
        ".h265",
        ".265",
        ".hevc",
        ".mjpeg",
        ".mjpg",
    ]
)
"""What OpenCV's FFmpeg reads; the last ones are streams without a container, which have no times."""


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
    left_out: str = ""
    """What of a folder or pattern is not looked at, in one line; empty if nothing."""
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), _nobody)

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """Every frame in order. A file that cannot be read completely is reported, and the next one follows.

        Raises: SourceError of the first such file, after all files.
        """
        failed: dict[Path, SourceError] = {}
        told: set[str] = set()

        def notify(reason: str) -> None:
            if reason not in told:
                told.add(reason)
                on_event(Event(self.name, "notice", datetime.now(timezone.utc), reason))

        while not stop.is_set():
            count = 0
            for path in self.paths:
                if stop.is_set():
                    return
                try:
                    for frame in _frames_of(path, self.stride, notify):
                        count += 1
                        yield frame
                except SourceError as error:
                    if len(self.paths) == 1:
                        raise
                    failed.setdefault(path, error)
                    notify(str(error))
            if not self.loop or not count:
                break
        for first in failed.values():
            raise SourceError(f"{len(failed)} of {len(self.paths)} files cannot be read completely; the first: {first}")


def _frames_of(path: Path, stride: int, notify: Callable[[str], None]) -> Iterator[Frame]:
    if not is_image(path):
        yield from video_frames(path, stride=stride, notify=notify)
        return
    began_s = time.perf_counter()
    pixels_bgr = read_image(path)
    count = image_count(path.read_bytes())
    if count > 1:
        notify(f"{path}: contains {count} images, of which only the first is used; convert it to a video or to files")
    yield stamp_frame(pixels_bgr, source=str(path), kind="image", fps=0.0, started_s=began_s)


def _nobody(_: Event) -> None:
    """Ignore the event, as files raise none."""
