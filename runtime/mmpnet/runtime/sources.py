"""Where frames come from: picture and video files, cameras, streams."""

import glob
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2

from mmpnet.contract.errors import SourceError
from mmpnet.runtime.addresses import without_password
from mmpnet.runtime.capture import AS_IT_COMES, LiveOptions, camera_source, stream_source
from mmpnet.runtime.frames import Event, Frame, Source, Tell, stamped
from mmpnet.runtime.grabbing import CUT_SHORT, as_bgr, grab, stated_fps
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.runtime.pictures import PICTURE_SUFFIXES, is_picture, read_picture

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"})
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a drive's letter stands alone
_STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|rtp|srt)://.+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Pictures and videos, one after another, every frame of them.

    `stride` n passes on every n-th frame of a video; `loop` begins again at the end, for ever.
    """

    paths: tuple[Path, ...]
    many_files: bool
    name: str = ""
    stride: int = 1
    loop: bool = False
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), _nobody)

    def frames(self, stop: threading.Event, tell: Tell) -> Iterator[Frame]:
        """Every frame in order. A file that cannot be read, or not to its end, is told, and the next one follows.

        Raises: SourceError of the first such file, once all have been looked at.
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
                    self._fail(path, error, failed, tell)
            if not self.loop or not count:
                break
        for first in failed.values():
            raise SourceError(f"{len(failed)} of {len(self.paths)} files cannot be read whole; the first: {first}")

    def _fail(self, path: Path, error: SourceError, failed: dict[Path, SourceError], tell: Tell) -> None:
        if len(self.paths) == 1:
            raise error
        if path not in failed:
            failed[path] = error
            tell(Event(self.name, "notice", datetime.now(UTC), str(error)))


def open_source(text: str | int, *, stride: int = 1, loop: bool = False, live: LiveOptions = AS_IT_COMES) -> Source:
    """A camera index or device, a stream's address, a picture, a video, a folder of them, or a glob pattern.

    Files come in name order, from the beginning again if `loop`; every `stride`-th frame is given.

    Raises: SourceError if nothing there gives frames. Cameras and streams are opened when their first frame is asked
    for.
    """
    text = str(text).strip()
    if text.isdecimal() and len(text) < 4:
        return camera_source(int(text), live, stride=stride)
    if _is_device(text):
        return camera_source(text, live, stride=stride)
    if _STREAM.fullmatch(text):
        return stream_source(text, live, stride=stride)
    if _ADDRESS.match(text):
        raise SourceError(
            f"{without_password(text)}: an address of an unknown kind; expected rtsp://, http://, https://, rtmp://, "
            "udp://, tcp://, rtp:// or srt://"
        )
    return _open_files(text, stride=stride, loop=loop)


def _open_files(text: str, *, stride: int, loop: bool) -> FileSource:
    path = Path(text)
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    if is_file(path):
        if path.suffix.lower() not in known:
            raise SourceError(
                f"{text}: {path.suffix or 'no suffix'} is no picture or video; expected .jpg, .png, .mp4, ..."
            )
        return FileSource((path,), many_files=False, name=text, stride=stride, loop=loop)
    if text and is_folder(path):
        candidates, where = sorted(path.iterdir()), f"{path}: the folder"
    elif glob.has_magic(text):
        found = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        candidates, where = sorted(Path(name) for name in found), f"{text}: the pattern"
    else:
        raise SourceError(
            f"{text or '(empty)'}: no such file or folder; expected a picture, a video, a folder, a glob pattern, "
            "a camera (0, /dev/video0) or a stream (rtsp://..., http://...)"
        )
    paths = tuple(found for found in candidates if is_file(found) and found.suffix.lower() in known)
    if not paths:
        raise SourceError(
            f"{where} has {len(candidates)} entries and no picture or video; expected .jpg, .png, .mp4, ..."
        )
    return FileSource(paths, many_files=True, name=text, stride=stride, loop=loop)


def _frames_of(path: Path, stride: int) -> Iterator[Frame]:
    if not is_picture(path):
        yield from _video_frames(path, stride)
        return
    began_s = time.perf_counter()
    pixels_bgr = read_picture(path)
    yield stamped(pixels_bgr, source=str(path), kind="picture", fps=0.0, started_s=began_s)


def _video_frames(path: Path, stride: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            size = f"{path.stat().st_size} bytes" if is_file(path) else "the file is gone"
            raise SourceError(f"{path}: OpenCV cannot open it as a video ({size})")
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
            yield stamped(pixels_bgr, source=str(path), kind="video", fps=fps / stride, started_s=began_s, index=index)
        if not count:
            raise SourceError(f"{path}: the video has no readable frame; it may be cut short or of an unknown codec")
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if damaged:
            raise SourceError(f"{path}: {damaged} damaged frames were passed over, {count} read; copy the file again")
        if count < CUT_SHORT * stated:
            raise SourceError(f"{path}: ended after {count} of {stated:.0f} frames; the file may be cut short")
    finally:
        capture.release()


def _is_device(text: str) -> bool:
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        # Absent now, which its opening says; /dev/shm is a folder as any other.
        return text.startswith("/dev/") and not text.startswith("/dev/shm/")


def _nobody(_: Event) -> None:
    """A file tells nothing."""
