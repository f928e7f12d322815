"""A family of third-party detectors: how to recognize its files, prepare their input and decode their output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.letterbox import PAD_VALUE

STRIDES = (8, 16, 32)
"""Strides of the three feature maps on which YOLOX, NanoDet and YOLO predict."""
MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)
STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)
"""ImageNet's mean and standard deviation, which OpenMMLab's and NanoDet's training applies to BGR 0..255."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The input size of a file, None if height and width are free, and the shapes of its outputs."""

    input_hw: tuple[int, int] | None
    outputs: tuple[tuple[int | str | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Resize:
    """Mapping from a frame of frame_hw px to an input of input_hw px."""

    frame_hw: tuple[int, int]
    input_hw: tuple[int, int]

    @property
    def scale(self) -> float:
        """Input px per frame px in a letterbox."""
        return min(self.input_hw[0] / self.frame_hw[0], self.input_hw[1] / self.frame_hw[1])


Decode: TypeAlias = Callable[[Sequence[NDArray[Any]], Resize, float, int], tuple[FloatArray, FloatArray]]
"""Decodes (outputs, resize, least score, class index) into boxes (K, 4) in frame px and scores (K,) of that class.

Only predictions that reach the score are decoded, which is fast. Raises ValueError if the outputs do not fit the
family.
"""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of network. class_names belong to its class indices. `pixels` turns a frame (H, W, 3) and an input
    (height, width) into (1, 3, height, width) float32. The sides of a free input must be multiples of `stride`;
    default_hw is the input size if the caller chooses none."""

    name: str
    class_names: tuple[str, ...]
    fits: Callable[[Signature], bool]
    pixels: Callable[[UInt8Array, tuple[int, int]], FloatArray]
    decode: Decode
    needs_nms: bool = True
    stride: int = max(STRIDES)
    default_hw: tuple[int, int] = (320, 320)


def signature_of(session: Any) -> Signature | None:
    """The signature of an onnxruntime.InferenceSession; None unless its single input is float (1 or free, 3, H, W)."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        return None
    batch, channels, *input_hw = inputs[0].shape
    if (isinstance(batch, int) and batch != 1) or channels != 3:
        return None
    fixed = [side for side in input_hw if isinstance(side, int)]
    if len(fixed) == 1:
        return None
    outputs = tuple(tuple(output.shape) for output in session.get_outputs())
    return Signature((fixed[0], fixed[1]) if fixed else None, outputs)


@cache
def grid_cells(input_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Column and row (cells, 2) and stride (cells, 1) of every cell of the three feature maps, finest map first."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, cols = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
        cells.append(np.stack([cols, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    both = np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
    for one in both:
        one.flags.writeable = False  # all callers share the arrays
    return both


def cell_counts(signature: Signature) -> tuple[int, ...] | None:
    """Cells of each of the three feature maps; None if the input is free or not a multiple of the largest stride."""
    if signature.input_hw is None or any(side % max(STRIDES) for side in signature.input_hw):
        return None
    height, width = signature.input_hw
    return tuple((height // stride) * (width // stride) for stride in STRIDES)


def top_left_letterbox(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> UInt8Array:
    """Place the frame in the top left corner of an input (height, width, 3), at its aspect ratio, padded with 114."""
    scale = Resize((frame_bgr.shape[0], frame_bgr.shape[1]), input_hw).scale
    size_wh = max(int(frame_bgr.shape[1] * scale), 1), max(int(frame_bgr.shape[0] * scale), 1)
    canvas = np.full((*input_hw, 3), PAD_VALUE, np.uint8)
    canvas[: size_wh[1], : size_wh[0]] = cv2.resize(frame_bgr, size_wh)
    return canvas


def planes(image_bgr: UInt8Array) -> FloatArray:
    """(H, W, 3) -> (1, 3, H, W) float32, values unchanged."""
    return np.ascontiguousarray(image_bgr.transpose(2, 0, 1)[None], np.float32)


def standardized(pixels_bgr: FloatArray) -> FloatArray:
    """Subtract the mean and divide by the deviation, (1, 3, H, W) BGR 0..255; changes the array in place."""
    pixels_bgr -= MEAN_BGR[:, None, None]
    pixels_bgr *= (1 / STD_BGR)[:, None, None]
    return pixels_bgr
