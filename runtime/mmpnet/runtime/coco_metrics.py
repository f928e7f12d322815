"""pycocotools at work on our types."""

import contextlib
import importlib.util
import io
from typing import Any

import numpy as np

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MissingExtraError
from mmpnet.runtime.datasets.types import Dataset

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def require_pycocotools() -> None:
    """Raises: MissingExtraError without pycocotools, before any picture has been looked at."""
    if importlib.util.find_spec("pycocotools") is None:
        raise MissingExtraError("evaluation needs pycocotools: pip install 'mmpnet[eval]'")


def coco_results(image_id: int, detections: Detections, to_category: dict[int, int]) -> list[dict[str, Any]]:
    """One picture's detections as pycocotools wants them."""
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


def accumulated(dataset: Dataset, categories: list[int], found: list[dict[str, Any]]) -> Any:
    """pycocotools' COCOeval over a data set, for these class indices and results, already run.

    Raises: MissingExtraError without pycocotools.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

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
    return evaluator


def twelve_numbers(evaluator: Any) -> dict[str, float | None]:
    """The summary's numbers by name; None where pycocotools says -1, there is nothing to measure."""
    values = [None if value < 0 else float(value) for value in evaluator.stats]
    return dict(zip(COCO_NUMBERS, values, strict=True))


def best_f1(evaluator: Any) -> tuple[float, float]:
    """Best F1 on the precision-recall curve at IoU 0.5, mean over classes, and its score threshold; or zeros."""
    curve = (0, slice(None), slice(None), 0, -1)  # IoU 0.5, every recall and class, all sizes, most detections
    precision, scores = evaluator.eval["precision"][curve], evaluator.eval["scores"][curve]  # (recalls, classes)
    labelled = precision.max(axis=0) >= 0  # pycocotools says -1 all along for a class without labels
    if not labelled.any():
        return 0.0, 0.0
    precision, scores = precision[:, labelled], scores[:, labelled]
    recall = evaluator.params.recThrs[:, None]
    f1 = np.where(precision > 0, 2 * precision * recall / np.maximum(precision + recall, 1e-9), 0).mean(axis=1)
    best = int(f1.argmax())
    return float(f1[best]), float(np.maximum(scores[best], 0).mean())


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
