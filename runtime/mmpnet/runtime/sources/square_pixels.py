"""Give frames of video with pixels that are not square their right shape."""

from typing import Any

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array

_LEAST, _MOST = 1.02, 4.0
"""Smaller ratios do not matter, larger ones are mistakes."""


class SquarePixels:
    """Stretches frames whose video states a sample aspect ratio other than 1, as players do; PAL and NTSC state one."""

    def __init__(self, capture: Any) -> None:
        width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        ratio = width / height if width > 0 and height > 0 else 1.0
        self.ratio = ratio if _LEAST <= max(ratio, 1 / ratio) <= _MOST else 1.0

    def apply(self, frame_bgr: UInt8Array) -> UInt8Array:
        """The frame (H, W, 3) with more columns, or with more rows if its pixels are higher than wide."""
        if self.ratio == 1:
            return frame_bgr
        height, width = frame_bgr.shape[:2]
        size_wh = (round(width * self.ratio), height) if self.ratio > 1 else (width, round(height / self.ratio))
        return np.asarray(cv2.resize(frame_bgr, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)

    def notice(self, frame_bgr: UInt8Array) -> str | None:
        """What was done with frames such as this one, which was stretched; None if nothing."""
        if self.ratio == 1:
            return None
        height, width = frame_bgr.shape[:2]
        return f"its pixels are {self.ratio:.3g} times as wide as high, so frames are stretched to {width}x{height} px"
