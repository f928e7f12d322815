"""Which anchor learns which box.

Each rule: boxes (M, 4) in input px -> (A,) index of the anchor's box, or BACKGROUND, or UNDECIDED.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.contract.boxes import area, centers, pairwise_iou, pairwise_overlap

BACKGROUND = -1
UNDECIDED = -2
"""The anchor fits a box nearly as well as those that learn it. It learns neither the box nor background."""
UNDECIDED_LABEL = -1
"""Label of an undecided anchor in the label grid."""

NEAREST_CELLS = 9
BEST_PER_CELL = 3
"""Anchors per near cell that compete for a box."""
LEVEL_SIDE_CELLS = 8
"""Cells that a box spans on its level of a feature pyramid: anchors are 4 to 6.3 strides wide in RetinaNet, 8 in ATSS.
On one fine grid a large box spans more cells, and in proportion more cells have anchors that fit it."""
SHARE_INSIDE = 0.5
"""An anchor lies in an ignored box if at least this share of its area does, as COCO's evaluation has it for crowds."""
NEARLY = 0.7
"""An anchor is undecided if its IoU is at least this share of the threshold of a box."""


@dataclass(frozen=True, slots=True)
class LabelGrid:
    """The targets of a batch: labels (B, S, R, rows, cols) are class indices, 0 = background, UNDECIDED_LABEL = not
    trained. Each of the P positives has, in the order of `positive.nonzero()`, a box in boxes_xyxy (P, 4) in input px
    and the confidence of its label in scores (P,)."""

    labels: Tensor
    boxes_xyxy: Tensor
    scores: Tensor

    @property
    def positive(self) -> Tensor:
        """(B, S, R, rows, cols) bool."""
        return self.labels > 0

    @property
    def decided(self) -> Tensor:
        """(B, S, R, rows, cols) bool: the anchors that learn a class or background."""
        return self.labels != UNDECIDED_LABEL

    def to(self, device: torch.device) -> "LabelGrid":
        return LabelGrid(
            labels=self.labels.to(device, non_blocking=True).long(),
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            scores=self.scores.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "LabelGrid":
        """Called by the loader if a CUDA device reads the batch."""
        return LabelGrid(self.labels.pin_memory(), self.boxes_xyxy.pin_memory(), self.scores.pin_memory())


def assign_by_iou(boxes_xyxy: FloatArray, anchors_xyxy: FloatArray, *, threshold: float = 0.5) -> IntArray:
    """Return the anchors whose IoU with a box is at least the threshold, and the best anchor of every box (SSD, section
    2.2)."""
    if not len(boxes_xyxy):
        return np.full(len(anchors_xyxy), -1, np.int64)
    iou = pairwise_iou(anchors_xyxy, boxes_xyxy)  # (A, M)
    matched = np.where(iou.max(axis=1) >= threshold, iou.argmax(axis=1), -1)
    _guarantee_best(matched, iou.argmax(axis=0), iou.max(axis=0))
    return matched


def assign_adaptively(
    boxes_xyxy: FloatArray,
    anchors_xyxy: FloatArray,
    *,
    grid_shape: tuple[int, int, int, int],
    stride: int,
    as_published: bool = False,
) -> IntArray:
    """Adaptive IoU threshold for each box, after ATSS (Zhang et al. 2020), on one grid for boxes of all sizes.

    The candidates are, for each size and ratio, the anchors of the nearest cells, and of these the best by IoU. A box
    is learned by its best anchor, and by the candidates that have their center in the box and an IoU of at least mean
    plus standard deviation. as_published: nine cells are near, and the other anchors are background. Otherwise the
    number of near cells grows with the box, and an anchor around them that fits nearly as well is undecided, as between
    the two thresholds of RetinaNet (Lin et al. 2017): no feature distinguishes the middle of a large box from the cell
    beside it.
    """
    matched = np.full(len(anchors_xyxy), BACKGROUND, np.int64)
    if not len(boxes_xyxy):
        return matched
    level_side_px = math.inf if as_published else float(LEVEL_SIDE_CELLS * stride)
    claims = [_claim(box, anchors_xyxy, grid_shape, level_side_px) for box in boxes_xyxy]
    if not as_published:
        matched[np.concatenate([claim.undecided for claim in claims])] = UNDECIDED
    # Written in ascending order of IoU, so that an anchor that two boxes claim learns the one that it fits better.
    owner = np.repeat(np.arange(len(claims)), [len(claim.anchors) for claim in claims])
    order = np.argsort(np.concatenate([claim.iou for claim in claims]), kind="stable")
    matched[np.concatenate([claim.anchors for claim in claims])[order]] = owner[order]
    _guarantee_best(matched, np.array([claim.best for claim in claims]), np.array([claim.best_iou for claim in claims]))
    return matched


def lies_inside(anchors_xyxy: FloatArray, boxes_xyxy: FloatArray) -> BoolArray:
    """Return which anchors (A, 4) have at least SHARE_INSIDE of their area in one of the boxes (M, 4) -> (A,)."""
    share = pairwise_overlap(anchors_xyxy, boxes_xyxy) / area(anchors_xyxy)[:, None]  # (A, M)
    inside: BoolArray = share.max(axis=1, initial=0) >= SHARE_INSIDE
    return inside


@dataclass(frozen=True, slots=True)
class _Claim:
    """Flat anchor indices for one box: the anchors that should learn it with their IoU, the undecided ones around them,
    and the best one."""

    anchors: IntArray
    iou: FloatArray
    undecided: IntArray
    best: int
    best_iou: float


def _claim(
    box_xyxy: FloatArray, anchors_xyxy: FloatArray, grid_shape: tuple[int, int, int, int], level_side_px: float
) -> _Claim:
    cells = grid_shape[2] * grid_shape[3]
    side = max(math.sqrt(area(box_xyxy)) / level_side_px, 1)
    near, around = (min(round(NEAREST_CELLS * side**power), cells) for power in (1, 2))
    by_distance = _nearest(box_xyxy, anchors_xyxy[:cells], around)  # all kinds have the same cells
    first_of_kind = np.arange(grid_shape[0] * grid_shape[1]) * cells
    seen = first_of_kind[:, None] + by_distance  # (S * R, around), nearest first
    iou_seen = pairwise_iou(box_xyxy[None], anchors_xyxy[seen.ravel()])[0].reshape(seen.shape)
    candidates, iou = seen[:, :near].ravel(), iou_seen[:, :near].ravel()
    best = np.argsort(-iou, kind="stable")[: BEST_PER_CELL * near]
    candidates, iou = candidates[best], iou[best]
    threshold = iou.mean() + iou.std()
    center = centers(anchors_xyxy[candidates])
    inside = ((center > box_xyxy[:2]) & (center < box_xyxy[2:])).all(axis=1)
    positive = inside & (iou >= threshold)
    return _Claim(
        anchors=candidates[positive],
        iou=iou[positive],
        undecided=seen[iou_seen >= NEARLY * threshold],
        best=int(candidates[0]),
        best_iou=float(iou[0]),
    )


def _nearest(box_xyxy: FloatArray, of_one_kind: FloatArray, count: int) -> IntArray:
    """Return the cells nearest to the box's center, nearest first (count,)."""
    distance = ((centers(of_one_kind) - centers(box_xyxy[None])) ** 2).sum(axis=1)  # (cells,)
    some = np.argpartition(distance, count - 1)[:count]
    nearest: IntArray = some[np.argsort(distance[some], kind="stable")]
    return nearest


def _guarantee_best(matched: IntArray, best_anchor: IntArray, best_iou: FloatArray) -> None:
    order = np.argsort(best_iou, kind="stable")
    matched[best_anchor[order]] = order
