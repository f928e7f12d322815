"""The best image of a person so far."""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array

LONGEST_SIDE_PX = 640
JPEG_QUALITY = 80
BETTER = 1.1
"""A new image replaces the best one if it is better by this factor, so that few frames are resized."""

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frame (H, W, 3) BGR of at most LONGEST_SIDE_PX, and the person in it: x1, y1, x2, y2 as fractions."""

    pixels_bgr: UInt8Array
    box: Box

    def jpeg(self) -> bytes:
        """The image as JPEG."""
        _, encoded = cv2.imencode(".jpg", self.pixels_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return encoded.tobytes()


class FrameSnapshot:
    """The snapshot of one frame, resized at the first use and shared by all people of the frame."""

    def __init__(self, frame_bgr: UInt8Array) -> None:
        self._frame_bgr = frame_bgr
        self._resized: UInt8Array | None = None

    def of(self, xyxy: FloatArray) -> Snapshot:
        """The snapshot of a person at xyxy (4,) in px of the frame."""
        height_px, width_px = self._frame_bgr.shape[:2]
        if self._resized is None:
            scale = min(LONGEST_SIDE_PX / max(height_px, width_px), 1.0)
            size = max(round(width_px * scale), 1), max(round(height_px * scale), 1)
            # A copy even if the size stays the same, as the frame's memory is used again.
            resized = cv2.resize(self._frame_bgr, size, interpolation=cv2.INTER_AREA)
            self._resized = np.asarray(resized, np.uint8)
        box = np.clip(xyxy / (width_px, height_px, width_px, height_px), 0, 1)
        x1, y1, x2, y2 = (round(float(value), 4) for value in box)
        return Snapshot(self._resized, (x1, y1, x2, y2))


def quality(xyxy: FloatArray, score: float) -> float:
    """How good an image of a person at xyxy (4,) is: large and certain."""
    area = max(float((xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])), 0.0)
    return float(score * np.sqrt(area))
