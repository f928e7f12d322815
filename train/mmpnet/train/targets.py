"""Which anchor learns which box.

Each rule: boxes (M, 4) in input px -> (A,) index of the anchor's box, -1 = background.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou

NEAREST_CELLS = 9
BEST_CANDIDATES = 27


@dataclass(frozen=True, slots=True)
class LabelGrid:
    """What a batch should become: labels (B, S, R, rows, cols) class indices, 0 = background; for each of its P
    positives, in the order of `labels.nonzero()`, the box boxes_xyxy (P, 4) in input px and the confidence scores (P,)
    of its label."""

    labels: Tensor
    boxes_xyxy: Tensor
    scores: Tensor

    @property
    def positive(self) -> Tensor:
        """(B, S, R, rows, cols) bool."""
        return self.labels > 0

    def to(self, device: torch.device) -> "LabelGrid":
        return LabelGrid(
            labels=self.labels.to(device, non_blocking=True).long(),
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            scores=self.scores.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "LabelGrid":
        """Called by the loader where a CUDA device will read the batch."""
        return LabelGrid(self.labels.pin_memory(), self.boxes_xyxy.pin_memory(), self.scores.pin_memory())


def assign_by_iou(boxes_xyxy: FloatArray, anchors_xyxy: FloatArray, *, threshold: float = 0.5) -> IntArray:
    """Anchors that overlap a box by at least the threshold, and for every box its best anchor (SSD, section 2.2)."""
    if not len(boxes_xyxy):
        return np.full(len(anchors_xyxy), -1, np.int64)
    iou = pairwise_iou(anchors_xyxy, boxes_xyxy)  # (A, M)
    matched = np.where(iou.max(axis=1) >= threshold, iou.argmax(axis=1), -1)
    _guarantee_best(matched, iou.argmax(axis=0), iou.max(axis=0))
    return matched


def assign_adaptively(
    boxes_xyxy: FloatArray, anchors_xyxy: FloatArray, *, grid_shape: tuple[int, int, int, int]
) -> IntArray:
    """Adaptive threshold per box, after ATSS (Zhang et al. 2020): of each size and ratio the nearest cells, of these
    the best by IoU, of these the ones above mean + deviation whose centre lies in the box; and the best one always."""
    matched = np.full(len(anchors_xyxy), -1, np.int64)
    if not len(boxes_xyxy):
        return matched
    candidates = _nearest_anchors(boxes_xyxy, anchors_xyxy, grid_shape)  # (M, Q)
    iou = _paired_iou(boxes_xyxy, anchors_xyxy[candidates])  # (M, Q)
    keep = min(BEST_CANDIDATES, candidates.shape[1])
    ranked = np.argsort(-iou, axis=1, kind="stable")[:, :keep]
    candidates = np.take_along_axis(candidates, ranked, axis=1)  # (M, keep), best first
    iou = np.take_along_axis(iou, ranked, axis=1)
    threshold = iou.mean(axis=1) + iou.std(axis=1)
    center = (anchors_xyxy[candidates, :2] + anchors_xyxy[candidates, 2:]) / 2  # (M, keep, 2)
    inside = ((center > boxes_xyxy[:, None, :2]) & (center < boxes_xyxy[:, None, 2:])).all(axis=2)
    positive = inside & (iou >= threshold[:, None])
    # Written in ascending order of IoU, so that an anchor two boxes want ends with the one it fits better.
    owner, column = np.nonzero(positive)
    order = np.argsort(iou[owner, column], kind="stable")
    matched[candidates[owner, column][order]] = owner[order]
    _guarantee_best(matched, candidates[:, 0], iou[:, 0])
    return matched


def _guarantee_best(matched: IntArray, best_anchor: IntArray, best_iou: FloatArray) -> None:
    order = np.argsort(best_iou, kind="stable")
    matched[best_anchor[order]] = order


def _nearest_anchors(
    boxes_xyxy: FloatArray, anchors_xyxy: FloatArray, grid_shape: tuple[int, int, int, int]
) -> IntArray:
    """Flat indices (M, S * R * nearest) of the anchors at the cells nearest to each box's centre."""
    kinds, cells = grid_shape[0] * grid_shape[1], grid_shape[2] * grid_shape[3]
    of_one_kind = anchors_xyxy[:cells]  # every kind stands on the same cells
    cell_center = (of_one_kind[:, :2] + of_one_kind[:, 2:]) / 2
    center = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    distance = ((center[:, None] - cell_center) ** 2).sum(axis=2)  # (M, cells)
    count = min(NEAREST_CELLS, cells)
    near = np.argpartition(distance, count - 1, axis=1)[:, :count]  # (M, count)
    first_of_kind = np.arange(kinds) * cells
    nearest: IntArray = (first_of_kind[None, :, None] + near[:, None, :]).reshape(len(boxes_xyxy), -1)
    return nearest


def _paired_iou(boxes_xyxy: FloatArray, candidates_xyxy: FloatArray) -> FloatArray:
    """IoU of each box (M, 4) with its own candidates (M, Q, 4) -> (M, Q)."""
    rows = [pairwise_iou(box[None], candidates)[0] for box, candidates in zip(boxes_xyxy, candidates_xyxy, strict=True)]
    return np.stack(rows)
