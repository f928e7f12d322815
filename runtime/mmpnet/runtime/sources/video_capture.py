"""Read frames from a cv2.VideoCapture: skip damaged frames, convert to BGR."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.contract.text import is_well_formed, well_formed
from mmpnet.media.sixteen_bits import to_8_bits

LEAST_TIMEOUT_S = 5.0
"""FFmpeg's own timeout of 30 s is too long for an unattended camera."""
CAMERA_BUFFERS = 2
"""Buffers of the driver: it fills one while the other is decoded. OpenCV's four are a queue; one halves the rate."""
FALLBACK_FPS = 25.0
"""For sources that state no frame rate; used only as the rate of a saved video."""
DAMAGED_IN_A_ROW, DAMAGED_S = 10, 1.0
"""This many failures in a row, or one that takes this long, are the end of the source, not damaged frames."""


def silence_opencv() -> None:
    """Stop OpenCV, and the FFmpeg inside it, from printing to stderr, as mmpnet's own messages are clearer."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 4 and 5 have this function in different places.
    set_log_level: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)


def open_camera(device: int | str) -> Any:
    """A capture of a camera by OpenCV's index or device path; it may not be open."""
    capture = cv2.VideoCapture(device if isinstance(device, int) else openable(device))
    if capture.isOpened():
        capture.set(cv2.CAP_PROP_BUFFERSIZE, CAMERA_BUFFERS)  # False if the system does not support it
    return capture


def open_stream(url: str, *, timeout_s: float = LEAST_TIMEOUT_S) -> Any:
    """A capture of a network stream that fails if nothing comes for `timeout_s`; it may not be open.

    One thread decodes: each further one of FFmpeg's delays every frame by one frame.
    """
    timeout_ms = round(max(timeout_s, LEAST_TIMEOUT_S) * 1e3)
    options = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: timeout_ms,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: timeout_ms,
        cv2.CAP_PROP_N_THREADS: 1,
    }
    return cv2.VideoCapture(openable(url), cv2.CAP_FFMPEG, [one for pair in options.items() for one in pair])


def openable(name: str) -> str:
    """Check a name for OpenCV, which crashes with a segmentation fault if it is not UTF-8. Raises: SourceError."""
    if not is_well_formed(name):
        raise SourceError(f"{well_formed(name)}: the name is not UTF-8, which OpenCV needs for videos; rename it")
    return name


def openable_path(path: Path) -> str:
    """The name of a file for OpenCV: absolute, as FFmpeg takes what is before a colon for a protocol, such as `12:30`.

    Raises: SourceError if the name is not UTF-8.
    """
    return str(Path(openable(str(path))).absolute())


def fourcc(capture: Any) -> str:
    """Four characters such as MJPG; empty if the capture does not state them."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes((code >> 8 * i) & 0xFF for i in range(4))
    return letters.decode("ascii", "replace").strip("\0 ") if code > 0 else ""


def stated_fps(capture: Any) -> float:
    """The frame rate that an open capture states, or FALLBACK_FPS."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps < 1000 else FALLBACK_FPS


def as_bgr(pixels: Any) -> UInt8Array:
    """Convert a capture's pixels to (H, W, 3) BGR uint8: thermal and infrared cameras may give gray or 16 bits."""
    image = np.asarray(pixels)
    if image.dtype == np.uint16:
        image = to_8_bits(image)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return np.asarray(image, np.uint8)


def grab(capture: Any) -> int | None:
    """Grab the next frame after damaged ones: FFmpeg's grab fails for each of these, but then continues.

    Returns how many were skipped; None if there are no more frames.
    """
    until_s = time.perf_counter() + DAMAGED_S
    for damaged in range(DAMAGED_IN_A_ROW):
        if capture.grab():
            return damaged
        if time.perf_counter() > until_s:
            return None
    return None
