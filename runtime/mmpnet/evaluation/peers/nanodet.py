"""NanoDet-m (Li et al. 2020): per cell 80 class scores and, for each side, a distribution over 0 to 7 strides."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.evaluation.peers.coco_classes import COCO_CLASSES
from mmpnet.evaluation.peers.family import Family, Resize, Signature, cell_counts, grid_cells, planes, standardized

BINS = 8


def fits(signature: Signature) -> bool:
    """Whether there are three outputs (cells, 80), followed by three (cells, 32)."""
    counts = cell_counts(signature)
    if counts is None:
        return False
    wanted = [*((count, len(COCO_CLASSES)) for count in counts), *((count, 4 * BINS) for count in counts)]
    return list(signature.outputs) == wanted


def pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) BGR, stretched to the input, normalized with the mean and deviation of its training."""
    stretched = np.asarray(cv2.resize(frame_bgr, (input_hw[1], input_hw[0])), np.uint8)
    return standardized(planes(stretched))


def decode(
    outputs: Sequence[NDArray[Any]], resize: Resize, conf: float, class_index: int
) -> tuple[FloatArray, FloatArray]:
    """The boxes of one class; the position of each side is the mean of its distribution."""
    cells, strides = grid_cells(resize.input_hw)
    scores = np.concatenate([output[:, class_index] for output in outputs[:3]])
    likely = np.flatnonzero(scores >= conf)
    logits = np.concatenate(outputs[3:])[likely].reshape(-1, 4, BINS)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    bins = np.arange(BINS, dtype=np.float32)
    sides = (weights * bins).sum(axis=2) / weights.sum(axis=2) * strides[likely]  # (K, 4): left, top, right, bottom
    center = (cells[likely] + 0.5) * strides[likely]
    boxes = np.concatenate([center - sides[:, :2], center + sides[:, 2:]], axis=1)
    (frame_h, frame_w), (input_h, input_w) = resize.frame_hw, resize.input_hw
    return boxes * np.array([frame_w / input_w, frame_h / input_h] * 2, np.float32), scores[likely]


NANODET = Family("NanoDet", COCO_CLASSES, fits, pixels, decode)
