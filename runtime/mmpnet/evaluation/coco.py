"""COCO metrics through pycocotools."""

import contextlib
import io
from typing import Any

from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import Dataset
from mmpnet.system.optional_packages import require_packages

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def require_pycocotools() -> None:
    """Raises: MissingExtraError without pycocotools; call it before any image is read."""
    require_packages("pycocotools", wanted_for="evaluation")


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
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def twelve_numbers(evaluator: Any) -> dict[str, float | None]:
    """The numbers of the summary by name; None if pycocotools gives -1, as there is nothing to measure."""
    values = [None if value < 0 else float(value) for value in evaluator.stats]
    return dict(zip(COCO_NUMBERS, values, strict=True))


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
