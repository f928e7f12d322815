"""MJPEG streams over HTTP, read without a queue; only the newest image is decoded."""

import threading
import time
from typing import Any

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.images import is_truncated
from mmpnet.runtime.sources.video_capture import fourcc, grab

JOIN_S = 1.0
"""How long `release` waits for a thread that may hang in the network."""
_DECODING = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_KEPT_PROPS = (
    cv2.CAP_PROP_FPS,
    cv2.CAP_PROP_FRAME_WIDTH,
    cv2.CAP_PROP_FRAME_HEIGHT,
    cv2.CAP_PROP_FOURCC,
    cv2.CAP_PROP_FRAME_COUNT,
)


class MjpegCapture:
    """Stands for the cv2.VideoCapture of an MJPEG stream, of which it gives the newest image.

    OpenCV decodes within `grab`. Where that takes longer than images take to come, they pile up in the socket's
    buffer and nobody is told. Here a thread takes the stream apart, which costs next to nothing, and keeps its newest
    JPEG. `get(CAP_PROP_POS_MSEC)` is when the grabbed image came, on time.perf_counter() in ms.
    """

    def __init__(self, capture: Any) -> None:
        """Take over an opened capture that has not been read from, and was asked for CAP_PROP_FORMAT -1 (JPEGs)."""
        # A capture is not for two threads: what it says of itself is asked before the other one begins.
        self._props = {prop: float(capture.get(prop)) for prop in _KEPT_PROPS}
        self._capture = capture
        self._changed = threading.Condition()
        self._newest: tuple[float, UInt8Array] | None = None
        self._grabbed: tuple[float, UInt8Array] | None = None
        self._skipped = 0
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read jpegs", daemon=True)
        self._thread.start()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Always, as in OpenCV before its release."""
        return True

    def get(self, prop: int) -> float:
        """What the capture said when it was taken over, and when the grabbed image came."""
        if prop == cv2.CAP_PROP_POS_MSEC and self._grabbed is not None:
            return self._grabbed[0] * 1e3
        return self._props.get(prop, 0.0)

    def set(self, prop: int, value: float) -> bool:
        """A stream has no modes to choose from."""
        del prop, value
        return False

    def grab(self) -> bool:
        """Take the newest image, or wait for the next; False at the stream's end."""
        with self._changed:
            while self._newest is None and not self._ended:
                self._changed.wait()
            self._grabbed, self._newest = self._newest, None
        return self._grabbed is not None

    def retrieve(self) -> tuple[bool, UInt8Array | None]:
        """The grabbed image (H, W, 3) BGR; False where it is damaged."""
        assert self._grabbed is not None
        content = self._grabbed[1].ravel()
        if is_truncated(content.tobytes()):  # OpenCV would fill the rest with gray
            return False, None
        try:
            pixels = cv2.imdecode(content, _DECODING)
        except cv2.error:
            return False, None
        return pixels is not None, None if pixels is None else np.asarray(pixels, np.uint8)

    def skipped(self) -> int:
        """How many images made room for newer ones since the last call."""
        with self._changed:
            skipped, self._skipped = self._skipped, 0
        return skipped

    def release(self) -> None:
        """End the thread, which closes the stream."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def _read(self) -> None:
        try:
            while not self._stop.is_set() and grab(self._capture) is not None:
                came_s = time.perf_counter()
                delivered, content = self._capture.retrieve()
                if delivered and content is not None:
                    self._keep(came_s, np.asarray(content, np.uint8))
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _keep(self, came_s: float, content: UInt8Array) -> None:
        with self._changed:
            self._skipped += self._newest is not None
            self._newest = came_s, content
            self._changed.notify_all()


def without_queue(capture: Any) -> Any:
    """An MjpegCapture of an endless MJPEG stream, so that no image waits to be decoded; any other capture as it is."""
    is_endless_mjpeg = capture.isOpened() and fourcc(capture) == "MJPG" and capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
    return MjpegCapture(capture) if is_endless_mjpeg and capture.set(cv2.CAP_PROP_FORMAT, -1) else capture
