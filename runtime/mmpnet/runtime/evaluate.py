"""Accuracy of any function from frame to Detections: pycocotools' twelve numbers and the exercise's quasi IoU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import DatasetError
from mmpnet.runtime.coco_metrics import accumulated, best_f1, coco_results, require_pycocotools, twelve_numbers
from mmpnet.runtime.datasets.types import Dataset, Picture

EVALUATION_THRESHOLDS = Thresholds(conf=0.001, iou=0.5, max_det=100)
EVALUATION_PROTOCOL = (
    f"COCO, conf {EVALUATION_THRESHOLDS.conf}, NMS IoU {EVALUATION_THRESHOLDS.iou}, "
    f"{EVALUATION_THRESHOLDS.max_det} detections"
)
QUASI_IOU_CONF = 0.5
QUASI_IOU_MATCH = 0.5

Detect = Callable[[UInt8Array], Detections]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """COCO's twelve numbers by name, None where a size range has no boxes; the quasi IoU; and the score threshold with
    the best F1 (mean over classes, IoU 0.5), a first choice for `--conf`."""

    coco: dict[str, float | None]
    quasi_iou: float
    best_f1: float
    best_f1_conf: float
    n_images: int
    n_boxes: int

    def ap(self, name: str = "AP") -> float:
        """One of the twelve numbers; 0 where it is undefined."""
        return self.coco[name] or 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        return {
            **self.coco,
            "quasi_iou": self.quasi_iou,
            "best_f1": self.best_f1,
            "best_f1_conf": self.best_f1_conf,
            "n_images": self.n_images,
            "n_boxes": self.n_boxes,
        }


def evaluate(
    detect: Detect,
    dataset: Dataset,
    class_names: Sequence[str],
    *,
    progress: Callable[[Sequence[Picture]], Iterator[Picture]] = iter,
) -> Evaluation:
    """Run a detector over every picture of a data set; classes are matched by name (index 0 is background).

    Raises: DatasetError if there is nothing to measure, or for a bad picture; MissingExtraError without pycocotools.
    """
    to_category = require_measurable(dataset, class_names)
    found: list[dict[str, Any]] = []
    counts = np.zeros(3, np.int64)  # true positives, false positives, misses
    for image_id, picture in enumerate(progress(dataset.pictures), start=1):
        detections = detect(picture.read())
        found.extend(coco_results(image_id, detections, to_category))
        counts += _confusion(detections, picture, to_category)
    evaluator = accumulated(dataset, sorted(to_category.values()), found)
    f1, f1_conf = best_f1(evaluator)
    return Evaluation(
        coco=twelve_numbers(evaluator),
        quasi_iou=quasi_iou(*counts.tolist()),
        best_f1=f1,
        best_f1_conf=f1_conf,
        n_images=len(dataset.pictures),
        n_boxes=dataset.num_boxes,
    )


def require_measurable(dataset: Dataset, class_names: Sequence[str]) -> dict[int, int]:
    """The data set's class index of each of the model's, by name.

    Raises: DatasetError if no class is shared or none of the shared has a box; MissingExtraError without pycocotools.
    """
    require_pycocotools()
    to_category = {
        class_id: dataset.class_names.index(name)
        for class_id, name in enumerate(class_names)
        if class_id > 0 and name in dataset.class_names
    }
    if not to_category:
        raise DatasetError(
            f"{dataset.path}: has classes {list(dataset.class_names[1:])}, the model {list(class_names[1:])}; "
            "at least one must be shared"
        )
    if not any(np.isin(picture.class_ids, list(to_category.values())).any() for picture in dataset.pictures):
        raise DatasetError(
            f"{dataset.path}: has no box of {list(class_names[1:])}; there is nothing to measure against"
        )
    return to_category


def quasi_iou(true_positives: int, false_positives: int, misses: int) -> float:
    """TP / (TP + FP + FN), found and labelled over found or labelled: the IoU of two sets; 1 if both are empty.

    Here the sets are boxes: detections of score 0.5 or more, matched one to one with labelled boxes at IoU 0.5.
    """
    either = true_positives + false_positives + misses
    return true_positives / either if either else 1.0


def _confusion(detections: Detections, picture: Picture, to_category: dict[int, int]) -> tuple[int, int, int]:
    labelled = ~picture.crowd & np.isin(picture.class_ids, list(to_category.values()))
    boxes, ids = picture.boxes_xyxy[labelled], picture.class_ids[labelled]
    free = np.ones(len(boxes), np.bool_)
    true_positives = false_positives = 0
    iou = pairwise_iou(detections.xyxy, boxes)
    for row in range(len(detections)):
        category = to_category.get(int(detections.class_id[row]))
        if category is None or detections.score[row] < QUASI_IOU_CONF:
            continue
        candidates = np.where(free & (ids == category), iou[row], 0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= QUASI_IOU_MATCH:
            free[best] = False
            true_positives += 1
        else:
            false_positives += 1
    return true_positives, false_positives, int(free.sum())
