"""Accuracy of any function from frame to Detections: COCO's twelve numbers, VOC's two, the exercise's quasi IoU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.coco import accumulated, coco_results, require_pycocotools, twelve_numbers
from mmpnet.evaluation.curves import mean_ap, mean_confidence_curve, voc07_ap, voc_ap
from mmpnet.evaluation.image_matches import ImageMatches, image_matches
from mmpnet.evaluation.matching import Ranking, match_coco, match_voc, rankings

MATCH_IOU = 0.5
"""IoU from which a box counts as found, for the quasi IoU, F1 and VOC's average precision."""
QUASI_IOU_CONF = 0.5

Detect = Callable[[UInt8Array], Detections]


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """One class of the dataset: number of boxes without crowds, and VOC's average precisions at IoU 0.5, None without
    boxes."""

    name: str
    class_id: int
    n_boxes: int
    voc07_ap50: float | None
    voc_ap50: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """COCO's twelve numbers by name, None if a size range has no boxes; VOC's two, as means over classes; the quasi
    IoU; and the score threshold with the best F1 (mean over classes, IoU 0.5), a good first value for `--conf`.

    n_boxes: boxes to find, without crowds and difficult ones.
    found: each image's detections, with the dataset's class ids, for further analysis.
    matches: the matches behind the twelve numbers, from which those of resampled images are computed.
    """

    coco: dict[str, float | None]
    classes: tuple[ClassAccuracy, ...]
    quasi_iou: float
    best_f1: float
    best_f1_conf: float
    n_images: int
    n_boxes: int
    found: tuple[Detections, ...] = field(repr=False)
    matches: ImageMatches = field(repr=False)

    @property
    def voc07_ap50(self) -> float | None:
        return mean_ap(one.voc07_ap50 for one in self.classes)

    @property
    def voc_ap50(self) -> float | None:
        return mean_ap(one.voc_ap50 for one in self.classes)

    def ap(self, name: str = "AP") -> float:
        """One of the twelve numbers; 0 if it is undefined."""
        return self.coco[name] or 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        return {
            **self.coco,
            "voc07_AP50": self.voc07_ap50,
            "voc_AP50": self.voc_ap50,
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
    progress: Callable[[Sequence[LabeledImage]], Iterator[LabeledImage]] = iter,
) -> Evaluation:
    """Run a detector on every image of a dataset; classes are matched by name (index 0 is background).

    Raises: DatasetError if there is nothing to measure, or for a bad image; MissingExtraError without pycocotools.
    """
    to_category = require_measurable(dataset, class_names)
    return measure(dataset, detect_all(detect, dataset, to_category, progress=progress), sorted(to_category.values()))


def detect_all(
    detect: Detect,
    dataset: Dataset,
    to_category: dict[int, int],
    *,
    progress: Callable[[Sequence[LabeledImage]], Iterator[LabeledImage]] = iter,
) -> tuple[Detections, ...]:
    """Detections in every image, of the classes in `to_category`, with the dataset's class ids.

    Raises: DatasetError for a bad image.
    """
    return tuple(in_categories(detect(image.read()), to_category) for image in progress(dataset.images))


def measure(dataset: Dataset, found: tuple[Detections, ...], categories: list[int]) -> Evaluation:
    """Accuracy of detections, one entry per image of the dataset, for these of its classes.

    Raises: MissingExtraError without pycocotools.
    """
    results = [entry for image_id, one in enumerate(found, start=1) for entry in coco_results(image_id, one)]
    pairs = list(zip(found, dataset.images, strict=True))
    by_coco = [match_coco(detections, image, MATCH_IOU) for detections, image in pairs]
    by_voc = [match_voc(detections, image, MATCH_IOU) for detections, image in pairs]
    ranked = list(rankings(by_coco, dataset.images, categories).values())
    best_f1, best_f1_conf = mean_confidence_curve(ranked).best()
    evaluator = accumulated(dataset, categories, results)
    return Evaluation(
        coco=twelve_numbers(evaluator),
        classes=tuple(
            ClassAccuracy(dataset.class_names[class_id], class_id, one.n_boxes, voc07_ap(one), voc_ap(one))
            for class_id, one in rankings(by_voc, dataset.images, categories).items()
        ),
        quasi_iou=_quasi_iou_of(ranked),
        best_f1=best_f1,
        best_f1_conf=best_f1_conf,
        n_images=len(dataset.images),
        n_boxes=sum(one.n_boxes for one in ranked),
        found=found,
        matches=image_matches(evaluator),
    )


def require_measurable(dataset: Dataset, class_names: Sequence[str]) -> dict[int, int]:
    """The dataset's class index for each class index of the model, matched by name.

    Raises: DatasetError if no class is shared, or no shared class has a box; MissingExtraError without pycocotools.
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
            "expected at least one in common"
        )
    wanted = list(to_category.values())
    if not any(np.isin(image.class_ids[~image.crowd], wanted).any() for image in dataset.images):
        raise DatasetError(
            f"{dataset.path}: has no box of {list(class_names[1:])} except crowds; expected at least one box"
        )
    return to_category


def quasi_iou(true_positives: int, false_positives: int, misses: int) -> float:
    """TP / (TP + FP + FN), the IoU of the set of detections and the set of labeled boxes; 1 if both are empty.

    The detections are those with score 0.5 or more, matched one to one with labeled boxes at IoU 0.5. Detections in a
    crowd do not count.
    """
    either = true_positives + false_positives + misses
    return true_positives / either if either else 1.0


def _quasi_iou_of(ranked: Sequence[Ranking]) -> float:
    confident = [one.correct[one.score >= QUASI_IOU_CONF] for one in ranked]
    hits = sum(int(correct.sum()) for correct in confident)
    return quasi_iou(hits, sum(map(len, confident)) - hits, sum(one.n_boxes for one in ranked) - hits)


def in_categories(detections: Detections, to_category: dict[int, int]) -> Detections:
    """The detections of shared classes, with the dataset's class ids."""
    category = np.array([to_category.get(class_id, 0) for class_id in detections.class_id.tolist()], np.int64)
    shared = category > 0
    return Detections(detections.xyxy[shared], detections.score[shared], category[shared])
