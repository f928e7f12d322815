"""Silence the messages that OpenCV prints to stderr."""

import os
from collections.abc import Callable

import cv2


def silence_opencv() -> None:
    """Have OpenCV, and the FFmpeg inside it, print nothing from now on."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 4 and 5 have this in different places.
    set_log_level: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
