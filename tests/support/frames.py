"""Frames and videos for tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array

BRIGHTNESS_STEP = 12


def make_noise(seed: int, size_hw: tuple[int, int]) -> UInt8Array:
    """A frame of colored noise (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def write_video(path: Path, *, count: int, size_hw: tuple[int, int] = (48, 64), fps: float = 10.0) -> Path:
    """Write an MJPG .avi; all pixels of frame i have the value BRIGHTNESS_STEP * i, so `count` is at most 21."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (size_hw[1], size_hw[0]))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((*size_hw, 3), BRIGHTNESS_STEP * index, np.uint8))
    writer.release()
    return path


def frame_indices(frames_bgr: Sequence[UInt8Array]) -> list[int]:
    """Index in write_video of each frame."""
    return [round(float(frame.mean()) / BRIGHTNESS_STEP) for frame in frames_bgr]


def read_video(path: Path) -> list[UInt8Array]:
    """Every frame of a video file, read directly with OpenCV."""
    capture = cv2.VideoCapture(str(path))
    frames: list[UInt8Array] = []
    while True:
        delivered, frame = capture.read()
        if not delivered:
            capture.release()
            return frames
        frames.append(np.asarray(frame, np.uint8))
