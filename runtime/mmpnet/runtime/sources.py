"""Where frames come from: picture and video files, or a camera."""

import glob
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.runtime.pictures import PICTURE_SUFFIXES, read_picture

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"})
CUT_SHORT = 0.5
"""Containers estimate their number of frames; a video with fewer than this share of it was cut."""
FALLBACK_FPS = 25.0
"""For a container that states no frame rate; used only as the rate of a saved video."""

Kind = Literal["picture", "video", "camera"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame (H, W, 3) BGR uint8, where it comes from and when it was grabbed."""

    pixels_bgr: UInt8Array
    source: str
    kind: Kind
    fps: float
    captured_at: datetime
    captured_s: float
    """time.perf_counter() at the grab, for ages that no clock change can spoil."""

    def age_ms(self) -> float:
        """Milliseconds since the grab."""
        return (time.perf_counter() - self.captured_s) * 1e3


class Source(Protocol):
    """Frames in order; iterating raises SourceError when the source fails rather than ends."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""

    @property
    def many_files(self) -> bool:
        """Whether results belong to several files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files the frames come from; none for a camera."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, read as they are asked for."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Pictures and videos, one after another, every frame of them."""

    paths: tuple[Path, ...]
    many_files: bool
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        for path in self.paths:
            if path.suffix.lower() in PICTURE_SUFFIXES:
                yield _stamped(read_picture(path), source=str(path), kind="picture", fps=0.0)
            else:
                yield from _video_frames(path)


@dataclass(frozen=True, slots=True)
class CameraSource:
    """A camera by its OpenCV index."""

    index: int
    live: bool = True
    many_files: bool = False
    paths: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(self.index)
        try:
            if not capture.isOpened():
                raise SourceError(f"camera {self.index}: cannot be opened; {_cameras_present()}")
            fps = _stated_fps(capture)
            count = 0
            while True:
                delivered, pixels = capture.read()
                if not delivered:
                    raise SourceError(
                        f"camera {self.index}: no frame after {count}; check its cable and who else uses it"
                    )
                count += 1
                yield _stamped(np.asarray(pixels, np.uint8), source=f"camera {self.index}", kind="camera", fps=fps)
        finally:
            capture.release()


def open_source(text: str) -> FileSource:
    """A picture, a video, a folder of them, or a glob pattern; files in name order.

    Raises: SourceError if nothing there is a picture or a video.
    """
    path = Path(text)
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    if is_file(path):
        if path.suffix.lower() not in known:
            raise SourceError(
                f"{text}: {path.suffix or 'no suffix'} is no picture or video; expected .jpg, .png, .mp4, ..."
            )
        return FileSource(paths=(path,), many_files=False)
    if text and is_folder(path):
        candidates, where = sorted(path.iterdir()), f"{path}: the folder"
    elif glob.has_magic(text):
        found = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        candidates, where = sorted(Path(name) for name in found), f"{text}: the pattern"
    else:
        raise SourceError(
            f"{text or '(empty)'}: no such file or folder; expected a picture, a video, a folder or a glob pattern"
        )
    paths = tuple(found for found in candidates if is_file(found) and found.suffix.lower() in known)
    if not paths:
        raise SourceError(
            f"{where} has {len(candidates)} entries and no picture or video; expected .jpg, .png, .mp4, ..."
        )
    return FileSource(paths=paths, many_files=True)


def _video_frames(path: Path) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceError(f"{path}: OpenCV cannot open it as a video ({path.stat().st_size} bytes)")
        fps = _stated_fps(capture)
        count = 0
        while True:
            delivered, pixels = capture.read()
            if not delivered:
                break
            count += 1
            yield _stamped(np.asarray(pixels, np.uint8), source=str(path), kind="video", fps=fps)
        if not count:
            raise SourceError(f"{path}: the video has no readable frame; it may be cut short or of an unknown codec")
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if count < CUT_SHORT * stated:
            raise SourceError(f"{path}: ended after {count} of {stated:.0f} frames; the file may be cut short")
    finally:
        capture.release()


def _stated_fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps < 1000 else FALLBACK_FPS


def _stamped(pixels_bgr: UInt8Array, *, source: str, kind: Kind, fps: float) -> Frame:
    return Frame(
        pixels_bgr=pixels_bgr,
        source=source,
        kind=kind,
        fps=fps,
        captured_at=datetime.now(UTC),
        captured_s=time.perf_counter(),
    )


def _cameras_present() -> str:
    if not sys.platform.startswith("linux"):
        return "check that it is connected and that this program may use it"
    devices = sorted(str(device) for device in Path("/dev").glob("video*"))
    if not devices:
        return "this machine has no /dev/video* device; connect a camera, or give --source FILE"
    return f"found {', '.join(devices)}; check the index, who else uses it, and your rights on it"
