"""Match detections with labeled boxes, by the rules of COCO or VOC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.contract.boxes import EPSILON_PX2, area, pairwise_iou, pairwise_overlap
from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import LabeledImage

NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches of one image's detections (N,), best first, all classes together.

    label: row of the labeled box that the detection found, or NO_LABEL. ignored: True on a crowd, which is neither
    right nor wrong. best_iou: largest IoU with a labeled box of its class, without crowds.
    """

    score: FloatArray
    class_id: IntArray
    label: IntArray
    ignored: BoolArray
    best_iou: FloatArray

    @property
    def correct(self) -> BoolArray:
        correct: BoolArray = self.label != NO_LABEL
        return correct


@dataclass(frozen=True, slots=True)
class Ranking:
    """One class's detections in all images, best first: score (N,), correct (N,), and the number of labeled boxes.

    Ignored detections are left out; equal scores keep the order of the images.
    """

    score: FloatArray
    correct: BoolArray
    n_boxes: int


def match_coco(detections: Detections, image: LabeledImage, iou_threshold: float) -> Matches:
    """In order of score, match each detection with the free labeled box of its class that it overlaps most.

    An unmatched detection is ignored if a crowd covers at least the threshold's share of its area (Lin et al. 2014).
    """
    iou = _iou_within_class(detections, image)  # (N, M)
    real = np.where(image.crowd, 0, iou)
    label = np.full(len(detections), NO_LABEL, np.int64)
    free = ~image.crowd
    for row in np.flatnonzero(real.max(axis=1, initial=0) >= iou_threshold):
        candidates = np.where(free, real[row], 0)
        best = len(candidates) - 1 - int(candidates[::-1].argmax())  # of equal IoUs the last, as in pycocotools
        if candidates[best] >= iou_threshold:
            label[row], free[best] = best, False
    own_class = detections.class_id[:, None] == image.class_ids
    share = (
        pairwise_overlap(detections.xyxy, image.boxes_xyxy) / np.maximum(area(detections.xyxy), EPSILON_PX2)[:, None]
    )
    in_crowd = np.where(own_class & image.crowd, share, 0).max(axis=1, initial=0) >= iou_threshold
    return Matches(
        score=detections.score,
        class_id=detections.class_id,
        label=label,
        ignored=in_crowd & (label == NO_LABEL),
        best_iou=real.max(axis=1, initial=0).astype(np.float32),
    )


def match_voc(detections: Detections, image: LabeledImage, iou_threshold: float) -> Matches:
    """Assign each detection to the labeled box of its class that it overlaps most, free or not.

    The best score per box is right, every further one wrong; on a difficult (crowd) box all are ignored (Everingham et
    al. 2010). Boxes here are half-open, so the `+ 1` of the development kit, for inclusive corners, is left out.
    """
    iou = _iou_within_class(detections, image)  # (N, M)
    label = np.full(len(detections), NO_LABEL, np.int64)
    ignored = np.zeros(len(detections), np.bool_)
    reaching = np.flatnonzero(iou.max(axis=1, initial=0) >= iou_threshold)
    if len(reaching):
        wanted = iou[reaching].argmax(axis=1)
        ignored[reaching] = image.crowd[wanted]
        boxes, first = np.unique(wanted, return_index=True)  # first has the best score, as rows are sorted
        label[reaching[first]] = np.where(image.crowd[boxes], NO_LABEL, boxes)
    best_iou = np.where(image.crowd, 0, iou).max(axis=1, initial=0).astype(np.float32)
    return Matches(detections.score, detections.class_id, label, ignored, best_iou)


def rankings(
    matches: Sequence[Matches], images: Sequence[LabeledImage], class_ids: Sequence[int]
) -> dict[int, Ranking]:
    """Combine all images' matches into one ranking for each class of the dataset."""
    score = _joined([one.score for one in matches], np.float32)
    class_id = _joined([one.class_id for one in matches], np.int64)
    correct = _joined([one.correct for one in matches], np.bool_)
    counted = ~_joined([one.ignored for one in matches], np.bool_)
    labeled = _joined([image.class_ids[~image.crowd] for image in images], np.int64)
    order = np.argsort(-score, kind="stable")
    result = {}
    for wanted in class_ids:
        rows = order[(counted & (class_id == wanted))[order]]
        result[wanted] = Ranking(score[rows], correct[rows], int((labeled == wanted).sum()))
    return result


def _iou_within_class(detections: Detections, image: LabeledImage) -> NDArray[np.float64]:
    """IoU (N, M) in float64, the type in which thresholds are compared; 0 between boxes of different classes."""
    iou = pairwise_iou(detections.xyxy, image.boxes_xyxy).astype(np.float64)
    return np.where(detections.class_id[:, None] == image.class_ids, iou, 0.0)


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])
