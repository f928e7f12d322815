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
    """Replaces the cv2.VideoCapture of an MJPEG stream and gives its newest image.

    OpenCV decodes within `grab`. If decoding is slower than the stream, images accumulate in the socket's buffer
    unnoticed. Here a thread splits the stream into JPEGs, which is cheap, and keeps the newest one.
    `get(CAP_PROP_POS_MSEC)` is the arrival time of the grabbed image, on time.perf_counter() in ms.
    """

    def __init__(self, capture: Any) -> None:
        """Take over an opened capture that was not read yet and was set to CAP_PROP_FORMAT -1 (JPEGs)."""
        # Captures are not thread-safe, so its properties are read before the thread starts.
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
        """Always True, as in OpenCV before release."""
        return True

    def get(self, prop: int) -> float:
        """A property as it was at takeover, or the arrival time of the grabbed image."""
        if prop == cv2.CAP_PROP_POS_MSEC and self._grabbed is not None:
            return self._grabbed[0] * 1e3
        return self._props.get(prop, 0.0)

    def set(self, prop: int, value: float) -> bool:
        """Returns False, as a stream has no modes."""
        del prop, value
        return False

    def grab(self) -> bool:
        """Take the newest image, or wait for the next; False at the end of the stream."""
        with self._changed:
            while self._newest is None and not self._ended:
                self._changed.wait()
            self._grabbed, self._newest = self._newest, None
        return self._grabbed is not None

    def retrieve(self) -> tuple[bool, UInt8Array | None]:
        """The grabbed image (H, W, 3) BGR; False if it is damaged."""
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
        """Number of images that newer ones replaced since the last call."""
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
    """Wrap an endless MJPEG stream in an MjpegCapture, so that no image waits for decoding; return others unchanged."""
    is_endless_mjpeg = capture.isOpened() and fourcc(capture) == "MJPG" and capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
    return MjpegCapture(capture) if is_endless_mjpeg and capture.set(cv2.CAP_PROP_FORMAT, -1) else capture
