"""Ultralytics' YOLO with COCO's 80 classes: YOLOv8 and YOLO11 before NMS, YOLOv10 and YOLO26 end to end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.letterbox import PAD_VALUE, Letterbox
from mmpnet.evaluation.peers.coco_classes import COCO_CLASSES
from mmpnet.evaluation.peers.family import Family, Resize, Signature, cell_counts, planes


def fits_grid(signature: Signature) -> bool:
    """Whether there is one output (1, 84, cells)."""
    counts = cell_counts(signature)
    return counts is not None and signature.outputs == ((1, 4 + len(COCO_CLASSES), sum(counts)),)


def fits_end_to_end(signature: Signature) -> bool:
    """Whether there is one output (1, boxes, 6)."""
    shapes = signature.outputs
    return signature.input_hw is not None and [(len(s), s[0], s[-1]) for s in shapes] == [(3, 1, 6)]


def pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) RGB 0..1, letterboxed to the center, padded with 114."""
    boxed, _ = _letterbox(input_hw).apply(frame_bgr)
    values = planes(boxed[..., ::-1])
    values *= np.float32(1 / 255)
    return values


def decode_grid(
    outputs: Sequence[NDArray[Any]], resize: Resize, conf: float, class_index: int
) -> tuple[FloatArray, FloatArray]:
    """Decode (1, 4 + 80, cells): center and sides of each box in input px, then class scores."""
    scores = outputs[0][0, 4 + class_index]
    likely = np.flatnonzero(scores >= conf)
    output = outputs[0][0, :4][:, likely].T  # (K, 4)
    center, half_wh = output[:, :2], output[:, 2:] / 2
    boxes = np.concatenate([center - half_wh, center + half_wh], axis=1)
    return _letterbox(resize.input_hw).fit(resize.frame_hw).to_frame(boxes), scores[likely]


def decode_end_to_end(
    outputs: Sequence[NDArray[Any]], resize: Resize, conf: float, class_index: int
) -> tuple[FloatArray, FloatArray]:
    """Decode (1, boxes, 6): xyxy in input px, score and class index of boxes that need no NMS."""
    rows = outputs[0][0]
    rows = rows[(rows[:, 5] == class_index) & (rows[:, 4] >= conf)]  # (K, 6)
    return _letterbox(resize.input_hw).fit(resize.frame_hw).to_frame(rows[:, :4]), rows[:, 4]


def _letterbox(input_hw: tuple[int, int]) -> Letterbox:
    return Letterbox(input_hw, PAD_VALUE)


YOLO = Family("YOLO", COCO_CLASSES, fits_grid, pixels, decode_grid)
YOLO_END_TO_END = Family("YOLO, end to end", COCO_CLASSES, fits_end_to_end, pixels, decode_end_to_end, needs_nms=False)
