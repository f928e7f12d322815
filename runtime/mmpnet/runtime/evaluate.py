"""Accuracy of any function from frame to Detections: pycocotools' twelve numbers and the exercise's quasi IoU."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.runtime.dataset import Dataset, Picture

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
EVALUATION_THRESHOLDS = Thresholds(conf=0.001, iou=0.5, max_det=100)
QUASI_IOU_CONF = 0.5
QUASI_IOU_MATCH = 0.5

Detect = Callable[[UInt8Array], Detections]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """COCO's twelve numbers by name, None where a size range has no boxes, and the quasi IoU."""

    coco: dict[str, float | None]
    quasi_iou: float
    n_images: int
    n_boxes: int

    def ap(self, name: str = "AP") -> float:
        """One of the twelve numbers; 0 where it is undefined."""
        return self.coco[name] or 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        return {**self.coco, "quasi_iou": self.quasi_iou, "n_images": self.n_images, "n_boxes": self.n_boxes}


def evaluate(
    detect: Detect,
    dataset: Dataset,
    class_names: Sequence[str],
    *,
    progress: Callable[[Sequence[Picture]], Iterator[Picture]] = iter,
) -> Evaluation:
    """Run a detector over every picture of a data set; classes are matched by name (index 0 is background).

    Raises: DatasetError if no class name is shared or a picture is unreadable; MissingExtraError without pycocotools.
    """
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
    found: list[dict[str, Any]] = []
    counts = np.zeros(3, np.int64)  # true positives, false positives, misses
    for image_id, picture in enumerate(progress(dataset.pictures), start=1):
        detections = detect(picture.read())
        found.extend(_coco_results(image_id, detections, to_category))
        counts += _confusion(detections, picture, to_category)
    return Evaluation(
        coco=_twelve_numbers(dataset, sorted(to_category.values()), found),
        quasi_iou=quasi_iou(*counts.tolist()),
        n_images=len(dataset.pictures),
        n_boxes=dataset.num_boxes,
    )


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


def _coco_results(image_id: int, detections: Detections, to_category: dict[int, int]) -> list[dict[str, Any]]:
    results = []
    for xyxy, score, class_id in zip(
        detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
    ):
        if class_id in to_category:
            x1, y1, x2, y2 = xyxy
            results.append(
                {
                    "image_id": image_id,
                    "category_id": to_category[class_id],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "id": 0,
                    "score": score,
                }
            )
    return results


def _twelve_numbers(dataset: Dataset, categories: list[int], found: list[dict[str, Any]]) -> dict[str, float | None]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("evaluation needs pycocotools: pip install 'mmpnet[eval]'") from error
    labelled: list[dict[str, Any]] = []
    for image_id, picture in enumerate(dataset.pictures, start=1):
        for box, class_id, area, crowd in zip(
            picture.boxes_xyxy.tolist(),
            picture.class_ids.tolist(),
            picture.areas_px2,
            picture.crowd,
            strict=True,
        ):
            x1, y1, x2, y2 = box
            labelled.append(
                {
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints; people's messages go to stderr
        evaluator = COCOeval(
            _coco_index(COCO(), dataset, labelled), _coco_index(COCO(), dataset, found), iouType="bbox"
        )
        evaluator.params.catIds = categories
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    # pycocotools says -1 where there is nothing to measure.
    values = [None if value < 0 else float(value) for value in evaluator.stats]
    return dict(zip(COCO_NUMBERS, values, strict=True))


def _coco_index(index: Any, dataset: Dataset, annotations: list[dict[str, Any]]) -> Any:
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    index.dataset = {
        "info": {},
        "images": [{"id": image_id} for image_id in range(1, len(dataset.pictures) + 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.class_names) if i > 0],
        "annotations": annotations,
    }
    index.createIndex()
    return index
