"""Weighted box fusion (Solovyev, Wang and Gabruseva 2021): one set of boxes from those of several views of an image.

The package ensemble-boxes has it too, but ends the interpreter on bad input, had its last release in 2022, and brings
numba and pandas, 290 MB, for these lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections

FUSION_IOU = 0.55
"""A box joins the fused box that it overlaps most, if by more than this; the paper's choice."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Fused objects: boxes (N, 4), class_ids (N,), and for each view the best score that it gave each object
    (N, views), 0 if it did not find it."""

    boxes_xyxy: FloatArray
    class_ids: IntArray
    scores: FloatArray


def fuse(views: Sequence[Detections], weights: Sequence[float]) -> Clusters:
    """Cluster the boxes of all views, class by class, best score first; a fused box is the mean of its boxes, weighted
    by score times the view's weight (views,)."""
    pooled = _pooled(views)
    parts = [_of_one_class(pooled, class_id, np.asarray(weights)) for class_id in np.unique(pooled.class_ids)]
    boxes = [np.zeros((0, 4)), *(boxes for boxes, _ in parts)]
    scores = [np.zeros((0, len(views))), *(scores for _, scores in parts)]
    return Clusters(
        np.concatenate(boxes).astype(np.float32),
        np.repeat(np.unique(pooled.class_ids), [len(boxes) for boxes, _ in parts]),
        np.concatenate(scores).astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class _Pooled:
    """Boxes of all views, best score first."""

    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    class_ids: IntArray
    view: IntArray


def _pooled(views: Sequence[Detections]) -> _Pooled:
    score = np.concatenate([np.zeros(0), *(one.score for one in views)])
    order = np.argsort(-score, kind="stable")
    return _Pooled(
        np.concatenate([np.zeros((0, 4)), *(one.xyxy for one in views)])[order],
        score[order],
        np.concatenate([np.zeros(0, np.int64), *(one.class_id for one in views)])[order],
        np.repeat(np.arange(len(views)), [len(one) for one in views])[order],
    )


def _of_one_class(
    pooled: _Pooled, class_id: int, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fused boxes (K, 4) and each view's best score (K, views)."""
    rows = np.flatnonzero(pooled.class_ids == class_id)
    fused = np.zeros((len(rows), 4))
    mass = np.zeros(len(rows))
    scores = np.zeros((len(rows), len(weights)))
    count = 0
    for row in rows:
        box, view = pooled.xyxy[row], pooled.view[row]
        iou = pairwise_iou(box[None].astype(np.float32), fused[:count].astype(np.float32))[0]
        at = int(iou.argmax()) if count and iou.max() > FUSION_IOU else count
        count = max(count, at + 1)
        vote = pooled.score[row] * weights[view]
        fused[at] = (mass[at] * fused[at] + vote * box) / (mass[at] + vote)
        mass[at] += vote
        scores[at, view] = max(scores[at, view], pooled.score[row])
    return fused[:count], scores[:count]
