"""COCO metrics through pycocotools."""

import contextlib
import io
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import Dataset
from mmpnet.system.optional_packages import require_packages

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_SUMMARIZED = 3
"""Limits of results per image that pycocotools' summary reads: 1, 10 and 100."""


def require_pycocotools() -> None:
    """Raises: MissingExtraError without a pycocotools that can be loaded; call it before any image is read."""
    require_packages("pycocotools.mask", wanted_for="evaluation")


def coco_results(image_id: int, detections: Detections) -> list[dict[str, Any]]:
    """One image's detections, with the dataset's class ids, in pycocotools' result format."""
    return [
        {
            "image_id": image_id,
            "category_id": class_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "id": 0,
            "score": score,
        }
        for (x1, y1, x2, y2), score, class_id in zip(
            detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
        )
    ]


def accumulated(dataset: Dataset, categories: list[int], found: list[dict[str, Any]]) -> Any:
    """Run pycocotools' COCOeval on a dataset, for these class indices and results, and return it.

    All results count, also where an image has more than COCO's 100.

    Raises: MissingExtraError without pycocotools.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labeled: list[dict[str, Any]] = []
    for image_id, image in enumerate(dataset.images, start=1):
        for box, class_id, area, crowd in zip(
            image.boxes_xyxy.tolist(),
            image.class_ids.tolist(),
            image.areas_px2,
            image.crowd,
            strict=True,
        ):
            x1, y1, x2, y2 = box
            labeled.append(
                {
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints to stdout, which is reserved for results
        evaluator = COCOeval(_coco_index(COCO(), dataset, labeled), _coco_index(COCO(), dataset, found), iouType="bbox")
        evaluator.params.catIds = categories
        most = max(Counter(one["image_id"] for one in found).values(), default=0)
        if most > evaluator.params.maxDets[-1]:
            evaluator.params.maxDets = [*evaluator.params.maxDets, most]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def twelve_numbers(evaluator: Any) -> dict[str, float | None]:
    """The numbers of the summary by name; None if pycocotools gives -1, as there is nothing to measure.

    The summary's AP is that of the best 100 results of an image; here it is that of all. AR1, AR10 and AR100 are those
    of as many results as their names say, and ARs, ARm and ARl those of 100.
    """
    stats = [float(value) for value in evaluator.stats]
    if len(evaluator.params.maxDets) > _SUMMARIZED:
        precision = evaluator.eval["precision"][..., -1]  # (IoU, recall, class, size)
        areas = [precision[..., size] for size in range(precision.shape[-1])]  # all, small, medium, large
        stats[:6] = map(_mean, (areas[0], areas[0][0], areas[0][5], *areas[1:]))
    return {name: None if value < 0 else value for name, value in zip(COCO_NUMBERS, stats, strict=True)}


def _mean(precision: NDArray[np.float64]) -> float:
    """As pycocotools: the mean of what is defined, or -1."""
    defined = precision[precision > -1]
    return float(defined.mean()) if len(defined) else -1.0


def _coco_index(index: Any, dataset: Dataset, annotations: list[dict[str, Any]]) -> Any:
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    index.dataset = {
        "info": {},
        "images": [{"id": image_id} for image_id in range(1, len(dataset.images) + 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.class_names) if i > 0],
        "annotations": annotations,
    }
    index.createIndex()
    return index
