"""Video files out: codecs tried in order, the result read back before it takes its name."""

import shutil
from contextlib import suppress
from pathlib import Path

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.system.files import partial_path, remove

VIDEO_CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("MJPG", "XVID"),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "avc1"),
}
READ_BACK = 300
"""A video of no more frames is read back whole; of a longer one so many, or a stopping run would not end."""
LEAST_FREE_BYTES = 32 << 20
"""OpenCV does not tell when a disk is full, so a video ends before it is."""
CHECK_EVERY = 30


class VideoFile:
    """A video of one frame size, written beside its place and renamed by `close`.

    Where the program is killed, the file beside, NAME.partial.SUFFIX, is left. An .avi or .mkv can be read up to what
    FFmpeg had written, which goes by bytes: a second of a lively scene, many of a still one, most of all in an .mkv. An
    .mp4 or .mov cannot, as its index comes last. The next video of that name keeps what was left.

    Raises: OutputError if no codec for the suffix opens here.
    """

    def __init__(self, path: Path, *, fps: float, frame_hw: tuple[int, int]) -> None:
        self.path = path
        self._partial = partial_path(path)
        self.frame_hw = frame_hw
        # Codecs subsample color by two, so they want even sides; an odd last row or column is dropped.
        self._even_hw = (frame_hw[0] // 2 * 2, frame_hw[1] // 2 * 2)
        if min(self._even_hw) < 2:
            raise OutputError(f"{path}: frames of {frame_hw[1]}x{frame_hw[0]} px are too small for a video")
        _keep_leftover(self._partial)
        self._writer = self._open(fps)
        self._count = 0

    def write(self, frame_bgr: UInt8Array) -> None:
        """Append one frame (H, W, 3).

        Raises: OutputError if its size differs from the first frame's, or the disk is nearly full.
        """
        if frame_bgr.shape[:2] != self.frame_hw:
            raise OutputError(
                f"{self.path}: frame {self._count} is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, "
                f"the video {self.frame_hw[1]}x{self.frame_hw[0]}"
            )
        if self._count % CHECK_EVERY == 0 and (free := shutil.disk_usage(self._partial.parent).free) < LEAST_FREE_BYTES:
            raise OutputError(
                f"{self.path}: {free >> 20} MB are left on the disk; the video ends after {self._count} frames"
            )
        self._writer.write(frame_bgr[: self._even_hw[0], : self._even_hw[1]])
        self._count += 1

    def close(self) -> None:
        """Finish the file, read it back, and give it its name.

        Raises: OutputError if the frames that were written do not come back.
        """
        self._writer.release()
        readable = _count_frames(self._partial, self._count)
        if readable == self._count:
            try:
                self._partial.replace(self.path)
            except OSError as error:
                raise OutputError(
                    f"{self.path}: cannot be written ({error.strerror}); the video lies in {self._partial}"
                ) from error
            return
        kept = ""
        if readable:
            kept = f"; what there is lies in {self._partial}"
        else:
            remove(self._partial)
        raise OutputError(f"{self.path}: wrote {self._count} frames, {readable} can be read back{kept}; try .avi")

    def _open(self, fps: float) -> cv2.VideoWriter:
        size_wh = (self._even_hw[1], self._even_hw[0])
        for codec in VIDEO_CODECS[self.path.suffix.lower()]:
            writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*codec), fps, size_wh)
            if writer.isOpened():
                return writer
            writer.release()
        remove(self._partial)
        tried = ", ".join(VIDEO_CODECS[self.path.suffix.lower()])
        raise OutputError(f"{self.path}: no codec opens here (tried {tried}); try .avi, and check the folder")


def _count_frames(path: Path, expected: int) -> int:
    """Frames that come back; of a long video the first one and what its index says."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while count < READ_BACK and capture.grab():
        count += 1
    if count == READ_BACK:
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = expected if abs(stated - expected) <= max(expected // 100, 2) else stated
    capture.release()
    return count


def _keep_leftover(partial: Path) -> None:
    """A killed run's file is not for the next run to destroy."""
    if not partial.exists():
        return
    number = 1
    while (kept := partial.with_name(f"{partial.stem}-{number}{partial.suffix}")).exists():
        number += 1
    with suppress(OSError):
        partial.replace(kept)
