"""The letterbox: it turns a frame into network input, identically in training, calibration and at runtime."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.boxes import clip

IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
"""Mean and standard deviation of values in [0, 1]. The exported graph applies them, so callers only letterbox."""

PAD_VALUE = 114
INTERPOLATION = cv2.INTER_LINEAR_EXACT
"""Integer arithmetic, so that all processors resize to the same bytes; INTER_LINEAR does not (ADR 0017)."""


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """Placement of one letterboxed frame: its resized size and its top-left corner, both in input px."""

    frame_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    top_left_xy: tuple[int, int]

    def to_input(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (N, 4) in frame px -> input px."""
        moved: FloatArray = boxes_xyxy * self._scale() + self._shift()
        return moved

    def to_frame(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (N, 4) in input px -> frame px, clipped to the frame."""
        return clip((boxes_xyxy - self._shift()) / self._scale(), self.frame_hw)

    def _scale(self) -> FloatArray:
        # Both sides are rounded to whole pixels, so the two scales differ a little.
        x = self.resized_hw[1] / self.frame_hw[1]
        y = self.resized_hw[0] / self.frame_hw[0]
        return np.array([x, y, x, y], np.float32)

    def _shift(self) -> FloatArray:
        return np.array([*self.top_left_xy, *self.top_left_xy], np.float32)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Resize a frame to fit into (height, width) px at its own aspect ratio, center it, and pad the rest.

    Raises: ValueError if the size is not positive or the padding is not a byte.
    """

    input_hw: tuple[int, int]
    pad_value: int = PAD_VALUE

    def __post_init__(self) -> None:
        if min(self.input_hw) < 1:
            raise ValueError(f"input height and width must be positive, got {self.input_hw[0]}x{self.input_hw[1]}")
        if not 0 <= self.pad_value <= 255:
            raise ValueError(f"padding value must be in 0 to 255, got {self.pad_value}")

    def fit(self, frame_hw: tuple[int, int]) -> LetterboxTransform:
        """Placement of a frame of (height, width) px in the input.

        Raises: ValueError if the frame has no pixels.
        """
        frame_h, frame_w = frame_hw
        if frame_h < 1 or frame_w < 1:
            raise ValueError(f"a frame must have at least one pixel, got {frame_h}x{frame_w}")
        input_h, input_w = self.input_hw
        scale = min(input_h / frame_h, input_w / frame_w)
        resized_h = min(max(round(frame_h * scale), 1), input_h)
        resized_w = min(max(round(frame_w * scale), 1), input_w)
        return LetterboxTransform(
            frame_hw=frame_hw,
            resized_hw=(resized_h, resized_w),
            top_left_xy=((input_w - resized_w) // 2, (input_h - resized_h) // 2),
        )

    def apply(self, frame_bgr: UInt8Array, out: UInt8Array | None = None) -> tuple[UInt8Array, LetterboxTransform]:
        """Letterboxed pixels (height, width, 3) uint8, channel order unchanged, and their transform.

        If `out` is given, it is written to and returned; a live loop passes the same buffer for every frame.

        Raises: ValueError if the frame is not (H, W, 3) uint8, or `out` has another shape or cannot be written to.
        """
        if not isinstance(frame_bgr, np.ndarray):
            raise ValueError(f"a frame must be an array (H, W, 3) uint8, got {type(frame_bgr).__name__}")
        if frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3 or frame_bgr.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {frame_bgr.shape} {frame_bgr.dtype}")
        if out is None:
            out = np.empty((*self.input_hw, 3), np.uint8)
        if out.shape != (*self.input_hw, 3) or out.dtype != np.uint8:
            raise ValueError(f"out must be {(*self.input_hw, 3)} uint8, got {out.shape} {out.dtype}")
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("out must be writable and C-contiguous; pass an array made by np.empty")
        transform = self.fit((frame_bgr.shape[0], frame_bgr.shape[1]))
        height, width = transform.resized_hw
        left, top = transform.top_left_xy
        inside = out[top : top + height, left : left + width]
        if (height, width) == transform.frame_hw:
            inside[:] = frame_bgr
        else:
            cv2.resize(frame_bgr, (width, height), dst=inside, interpolation=INTERPOLATION)
        out[:top] = self.pad_value
        out[top + height :] = self.pad_value
        out[top : top + height, :left] = self.pad_value
        out[top : top + height, left + width :] = self.pad_value
        return out, transform
