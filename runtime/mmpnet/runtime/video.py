"""Video files out: codecs tried in order, the result read back before it takes its name."""

from pathlib import Path

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.paths import partial_path, remove

VIDEO_CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("MJPG", "XVID"),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "avc1"),
}


class VideoFile:
    """A video of one frame size, written beside its place and renamed by `close`.

    Raises: OutputError if no codec for the suffix opens here.
    """

    def __init__(self, path: Path, *, fps: float, frame_hw: tuple[int, int]) -> None:
        self.path = path
        self._partial = partial_path(path)
        self._frame_hw = frame_hw
        # Codecs subsample colour by two, so they want even sides; an odd last row or column is dropped.
        self._even_hw = (frame_hw[0] // 2 * 2, frame_hw[1] // 2 * 2)
        if min(self._even_hw) < 2:
            raise OutputError(f"{path}: frames of {frame_hw[1]}x{frame_hw[0]} px are too small for a video")
        self._writer = self._open(fps)
        self._count = 0

    def write(self, frame_bgr: UInt8Array) -> None:
        """Append one frame (H, W, 3).

        Raises: OutputError if its size differs from the first frame's.
        """
        if frame_bgr.shape[:2] != self._frame_hw:
            raise OutputError(
                f"{self.path}: frame {self._count} is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, "
                f"the video {self._frame_hw[1]}x{self._frame_hw[0]}"
            )
        self._writer.write(frame_bgr[: self._even_hw[0], : self._even_hw[1]])
        self._count += 1

    def close(self) -> None:
        """Finish the file, read it back, and give it its name.

        Raises: OutputError if the frames that were written do not come back.
        """
        self._writer.release()
        try:
            readable = _count_frames(self._partial)
            if readable != self._count:
                raise OutputError(f"{self.path}: wrote {self._count} frames, {readable} can be read back; try .avi")
            self._partial.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        finally:
            remove(self._partial)

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


def _count_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count
