"""The accuracy of models on labeled images, by mmp-val's evaluator."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from harness.script import progress_named
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.curves import RECALL_GRID, Curve, precision_recall
from mmpnet.evaluation.evaluate import MATCH_IOU, Evaluation, evaluate
from mmpnet.evaluation.matching import match_coco, rankings
from mmpnet.runtime.inference.detector import Detector

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "quasi_iou", "best_f1", "best_f1_conf")
HEADINGS = {"quasi_iou": "quasi\nIoU", "best_f1": "best\nF1", "best_f1_conf": "from\nscore"}
"""Column headings of the numbers whose names are too long for a table."""


@dataclass(frozen=True, slots=True)
class ModelAccuracy:
    """One model on one dataset: its numbers, and the precision at RECALL_GRID, IoU 0.5."""

    numbers: dict[str, float | int | None]
    precision: Curve


def model_accuracy(detector: Detector, dataset: Dataset, what: str) -> ModelAccuracy:
    """Evaluate one model; `what` names the progress bar.

    Raises: DatasetError if there is nothing to measure, or for an image that cannot be read.
    """
    evaluation = evaluate(detector, dataset, detector.class_names, progress=progress_named(what))
    return ModelAccuracy(numbers(evaluation), mean_precision(evaluation, dataset))


def only_wide(dataset: Dataset, wider_than: float | None) -> Dataset:
    """Its images whose width is more than `wider_than` times their height; all for None.

    Raises: MmpnetError if there is none.
    """
    if wider_than is None:
        return dataset
    wide = tuple(one for one in dataset.images if one.image_hw[1] > wider_than * one.image_hw[0])
    if not wide:
        raise MmpnetError(f"{dataset.name}: no image is wider than {wider_than:g} of its height")
    return dataclasses.replace(dataset, images=wide)


def numbers(evaluation: Evaluation) -> dict[str, float | int | None]:
    """NUMBERS, None where there is nothing to measure, and the number of boxes to find."""
    found = evaluation.as_dict()
    chosen = {name: found[name] for name in NUMBERS}
    return {
        **{name: None if value is None else round(value, 4) for name, value in chosen.items()},
        "n_boxes": evaluation.n_boxes,
    }


def mean_precision(evaluation: Evaluation, dataset: Dataset) -> Curve:
    """The precision at RECALL_GRID and IoU 0.5, mean over the classes that have boxes: AP50 is its mean."""
    pairs = zip(evaluation.found, dataset.images, strict=True)
    matches = [match_coco(found, image, MATCH_IOU) for found, image in pairs]
    class_ids = [one.class_id for one in evaluation.classes]
    ranked = [one for one in rankings(matches, dataset.images, class_ids).values() if one.n_boxes]
    mean: Curve = np.mean([precision_recall(one).precision_at(RECALL_GRID) for one in ranked], axis=0)
    return mean
