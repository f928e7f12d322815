"""Open cameras and streams through OpenCV, with timeouts."""

from typing import Any

import cv2

from mmpnet.runtime.sources.mjpeg import MjpegCapture
from mmpnet.runtime.sources.video_capture import openable

OPEN_TIMEOUT_MS = READ_TIMEOUT_MS = 5_000
"""FFmpeg waits 30 s by itself: too long for a camera that nobody watches."""
CAMERA_BUFFERS = 2
"""The driver's: it fills one while the other is decoded. Four, OpenCV's choice, are a queue; one halves the rate."""


def open_camera(device: int | str) -> Any:
    """A capture of a camera by OpenCV's index or its device path; it may be one that is not opened."""
    capture = cv2.VideoCapture(device if isinstance(device, int) else openable(device))
    if capture.isOpened():
        capture.set(cv2.CAP_PROP_BUFFERSIZE, CAMERA_BUFFERS)  # False where the system has no such thing
    return capture


def open_stream(url: str, *, clocked: bool) -> Any:
    """A capture of a stream, which may be one that is not opened; unless its sender states the time (`clocked`), one
    that leaves no MJPEG waiting."""
    waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    capture = cv2.VideoCapture(openable(url), cv2.CAP_FFMPEG, waits)
    if clocked or not capture.isOpened() or fourcc(capture) != "MJPG" or capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        return capture
    return MjpegCapture(capture) if capture.set(cv2.CAP_PROP_FORMAT, -1) else capture


def fourcc(capture: Any) -> str:
    """Four characters such as MJPG; empty where a capture does not say."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes((code >> 8 * i) & 0xFF for i in range(4))
    return letters.decode("ascii", "replace").strip("\0 ") if code > 0 else ""
