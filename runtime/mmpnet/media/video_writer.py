"""Write video files: try codecs in order, and verify the result before it takes its final name."""

import shutil
from pathlib import Path

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import counted, is_well_formed, well_formed
from mmpnet.system.claims import Claim
from mmpnet.system.files import remove, temporary_file, what_to_do

VIDEO_CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("MJPG", "XVID"),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "avc1"),
}
READ_BACK = 300
"""A video of at most this many frames is read back completely; of a longer one only this many, to stop quickly."""
LEAST_FREE_BYTES = 32 << 20
"""OpenCV does not report a full disk, so the video ends while this much is still free."""
CHECK_EVERY = 30


class VideoFile:
    """A video of one frame size, written under a temporary name and renamed by `close`.

    If the program is killed, the temporary file NAME.partial-TOKEN.SUFFIX stays. An .avi or .mkv is readable up to what
    FFmpeg had written. FFmpeg writes in blocks of bytes, so the loss is about a second of a lively scene, more of a
    still one, and most in an .mkv. An .mp4 or .mov is not readable, because its index is written last. Every video gets
    its own TOKEN.

    Raises: OutputError if no codec for the suffix opens, the disk is nearly full, or another run writes to `path`.
    """

    def __init__(self, path: Path, *, fps: float, frame_hw: tuple[int, int]) -> None:
        self.path = path
        self.frame_hw = frame_hw
        # Codecs subsample color by two and need even sides, so an odd last row or column is dropped.
        self._even_hw = (frame_hw[0] // 2 * 2, frame_hw[1] // 2 * 2)
        if min(self._even_hw) < 2:
            raise OutputError(f"{path}: frames of {frame_hw[1]}x{frame_hw[0]} px are too small for a video")
        if not is_well_formed(str(path)):
            raise OutputError(f"{well_formed(str(path))}: the name is not UTF-8, which OpenCV needs; choose another")
        self._count = 0
        self._check_space(path.parent)
        self._claim = Claim(path)
        try:
            self._partial = temporary_file(path, marked=True)
            self._writer = self._open(fps)
        except OSError as error:
            self._claim.close()
            raise OutputError(f"{path}: cannot be written ({error.strerror}); {what_to_do(error)}") from error
        except OutputError:
            self._claim.close()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether no frame has been written yet."""
        return self._count == 0

    def write(self, frame_bgr: UInt8Array) -> None:
        """Append one frame (H, W, 3).

        Raises: OutputError if its size differs from that of the first frame, or the disk is nearly full.
        """
        if frame_bgr.shape[:2] != self.frame_hw:
            raise OutputError(
                f"{self.path}: frame {self._count} is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, "
                f"expected {self.frame_hw[1]}x{self.frame_hw[0]} px as in the rest of the video"
            )
        if self._count % CHECK_EVERY == 0:
            self._check_space(self._partial.parent)
        self._writer.write(frame_bgr[: self._even_hw[0], : self._even_hw[1]])
        self._count += 1

    def close(self) -> None:
        """Finish the file, read it back and rename it. A video without frames is removed.

        Raises: OutputError if not all written frames can be read back.
        """
        try:
            self._writer.release()
            if self._count:
                self._keep()
            else:
                remove(self._partial)
        finally:
            self._claim.close()

    def _keep(self) -> None:
        readable = _count_frames(self._partial, self._count)
        if readable == self._count:
            try:
                self._partial.replace(self.path)
            except OSError as error:
                raise OutputError(
                    f"{self.path}: cannot be written ({error.strerror}); the video is in {self._partial}"
                ) from error
            return
        kept = ""
        if readable:
            kept = f"; the readable part is in {self._partial}"
        else:
            remove(self._partial)
        raise OutputError(
            f"{self.path}: wrote {counted(self._count, 'frame')}, {readable} can be read back{kept}; try .avi"
        )

    def _check_space(self, folder: Path) -> None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:  # opening the file reports what is wrong with the folder
            return
        if free < LEAST_FREE_BYTES:
            ends = f"ends after {counted(self._count, 'frame')}" if self._count else "is not started"
            raise OutputError(f"{self.path}: only {free >> 20} MB are free on the disk; the video {ends}; free space")

    def _open(self, fps: float) -> cv2.VideoWriter:
        size_wh = (self._even_hw[1], self._even_hw[0])
        for codec in VIDEO_CODECS[self.path.suffix.lower()]:
            writer = cv2.VideoWriter(str(self._partial.absolute()), cv2.VideoWriter.fourcc(*codec), fps, size_wh)
            if writer.isOpened():
                return writer
            writer.release()
        remove(self._partial)
        tried = ", ".join(VIDEO_CODECS[self.path.suffix.lower()])
        raise OutputError(f"{self.path}: no codec opens here (tried {tried}); try .avi, and check the folder")


def _count_frames(path: Path, expected: int) -> int:
    """Number of readable frames; for a long video, its index is compared with `expected`."""
    capture = cv2.VideoCapture(str(path.absolute()))
    count = 0
    while count < READ_BACK and capture.grab():
        count += 1
    if count == READ_BACK:
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = expected if abs(stated - expected) <= max(expected // 100, 2) else stated
    capture.release()
    return count
