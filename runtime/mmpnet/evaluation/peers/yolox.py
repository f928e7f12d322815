"""YOLOX (Ge et al. 2021) as exported without decoding: per cell a center, log sizes, objectness, 80 class scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.evaluation.peers.coco_classes import COCO_CLASSES
from mmpnet.evaluation.peers.family import (
    Family,
    Resize,
    Signature,
    cell_counts,
    grid_cells,
    planes,
    top_left_letterbox,
)

LARGEST_LOG_SIZE = 10.0
"""A box of 22,000 strides: only sizes that are already decoded to pixels exceed it."""


def fits(signature: Signature) -> bool:
    """Whether there is one output (1, cells, 85)."""
    counts = cell_counts(signature)
    return counts is not None and [shape[1:] for shape in signature.outputs] == [(sum(counts), 85)]


def pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) BGR 0..255, letterboxed to the top left corner, padded with 114."""
    return planes(top_left_letterbox(frame_bgr, input_hw))


def decode(
    outputs: Sequence[NDArray[Any]], resize: Resize, conf: float, class_index: int
) -> tuple[FloatArray, FloatArray]:
    """The boxes of one class; a score is objectness times class score."""
    output = outputs[0][0]  # (cells, 85)
    if output[:, 2:4].max(initial=0) > LARGEST_LOG_SIZE:
        raise ValueError(
            "boxes that are already decoded; export it without decoding (YOLOX: leave --decode_in_inference out)"
        )
    cells, strides = grid_cells(resize.input_hw)
    scores = output[:, 4] * output[:, 5 + class_index]
    likely = np.flatnonzero(scores >= conf)
    center = (output[likely, :2] + cells[likely]) * strides[likely]
    half_wh = np.exp(output[likely, 2:4]) * strides[likely] / 2
    boxes: FloatArray = np.concatenate([center - half_wh, center + half_wh], axis=1)
    return boxes / np.float32(resize.scale), scores[likely]


YOLOX = Family("YOLOX", COCO_CLASSES, fits, pixels, decode, default_hw=(416, 416))
