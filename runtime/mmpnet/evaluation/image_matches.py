"""COCO's twelve numbers for any resample of a dataset's images, from matches that are computed once.

pycocotools matches detections and boxes image by image. Its matches are kept here, so that drawing images with
replacement needs no new matching: an image that is drawn twice counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import BoolArray, IntArray
from mmpnet.evaluation.curves import RECALL_GRID

Values: TypeAlias = NDArray[np.float64]
SIZES = ("all", "small", "medium", "large")
"""pycocotools' area ranges, in its order."""
ROW_SIZE = 4_000_000
"""Resamples are computed in groups; the weights of all detections in a group are about this many numbers."""
EPSILON = np.spacing(1)


@dataclass(frozen=True, slots=True)
class SizeMatches:
    """Matches of one class and size range: hits[t] (P,) are the rows of correct detections in the class's ranking for
    each of 10 IoU thresholds; counted (10, N) is False for ignored detections; n_boxes (images,) are to find."""

    hits: tuple[IntArray, ...]
    counted: BoolArray
    n_boxes: IntArray


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """One class: the image of each detection (N,), best score first, its rank in that image, and matches by size."""

    image: IntArray
    rank: IntArray
    sizes: tuple[SizeMatches, ...]


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """The matches of all classes in a dataset of n_images."""

    n_images: int
    classes: tuple[ClassMatches, ...]

    @property
    def n_images_with_boxes(self) -> int:
        """Number of images with a box to find, of any class."""
        boxes = [one.sizes[0].n_boxes for one in self.classes]
        return int(np.count_nonzero(np.sum(boxes, axis=0)))

    def numbers(self, counts: IntArray) -> dict[str, Values]:
        """The twelve numbers (R,) of resamples that contain image i counts[r, i] times, counts (R, n_images); NaN if a
        resample has no box in the size range.

        They equal pycocotools' numbers, except for the order of equal scores within an image that is drawn repeatedly.
        """
        longest = max((len(one.image) for one in self.classes), default=0)
        step = max(ROW_SIZE // max(longest, 1), 1)
        groups = [counts[start : start + step] for start in range(0, len(counts), step)]
        parts = [_numbers(self.classes, group.astype(np.int32)) for group in groups]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def image_matches(evaluator: Any) -> ImageMatches:
    """Take the matches from a COCOeval after its evaluate(), images in the order of their ids."""
    params = evaluator.params
    n_images, n_sizes = len(params.imgIds), len(params.areaRng)
    found = evaluator.evalImgs
    classes = []
    for start in range(0, len(params.catIds) * n_sizes * n_images, n_sizes * n_images):
        by_size = [found[at : at + n_images] for at in range(start, start + n_sizes * n_images, n_images)]
        classes.append(_class_matches(by_size, n_thresholds=len(params.iouThrs)))
    return ImageMatches(n_images, tuple(classes))


def _class_matches(by_size: Sequence[Sequence[Any]], *, n_thresholds: int) -> ClassMatches:
    # Scores and their order are the same in every size range; images without boxes and detections are None.
    scores = [[] if one is None else one["dtScores"] for one in by_size[0]]
    image = np.repeat(np.arange(len(scores)), [len(one) for one in scores])
    rank = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(one)) for one in scores)])
    order = np.argsort(-np.concatenate([np.zeros(0), *scores]), kind="stable")
    none = np.zeros((n_thresholds, 0), np.bool_)
    sizes = []
    for per_image in by_size:
        known = [one for one in per_image if one is not None]
        ignored = np.concatenate([none, *(one["dtIgnore"].astype(np.bool_) for one in known)], axis=1)[:, order]
        matched = np.concatenate([none, *(one["dtMatches"] > 0 for one in known)], axis=1)[:, order]
        n_boxes = [0 if one is None else int((np.asarray(one["gtIgnore"]) == 0).sum()) for one in per_image]
        hits = tuple(np.flatnonzero(row) for row in matched & ~ignored)
        sizes.append(SizeMatches(hits, ~ignored, np.array(n_boxes, np.int64)))
    return ClassMatches(image[order], rank[order], tuple(sizes))


def _numbers(classes: Sequence[ClassMatches], counts: IntArray) -> dict[str, Values]:
    """As ImageMatches.numbers, for so few resamples that the weights of all detections fit in memory."""
    precision: dict[str, list[Values]] = {size: [] for size in SIZES}  # per class (R, 10)
    recall: dict[tuple[str, int], list[Values]] = {(size, 100): [] for size in SIZES}  # per class (R,)
    recall |= {("all", most): [] for most in (1, 10)}
    for one in classes:
        weights = counts[:, one.image]  # (R, N)
        for size, matches in zip(SIZES, one.sizes, strict=True):
            n_boxes = (counts @ matches.n_boxes).astype(np.float64)  # (R,)
            n_boxes[n_boxes == 0] = np.nan
            precision[size].append(_average_precision(weights, matches, n_boxes))
        for size, most in recall:
            recall[size, most].append(_average_recall(weights, one, SIZES.index(size), counts, most))
    ap = {size: _mean_over_classes(precision[size]) for size in SIZES}  # (R, 10)
    ar = {key: _mean_over_classes(recall[key]) for key in recall}
    return {
        "AP": ap["all"].mean(axis=1),
        "AP50": ap["all"][:, 0],
        "AP75": ap["all"][:, 5],
        "APs": ap["small"].mean(axis=1),
        "APm": ap["medium"].mean(axis=1),
        "APl": ap["large"].mean(axis=1),
        "AR1": ar["all", 1],
        "AR10": ar["all", 10],
        "AR100": ar["all", 100],
        "ARs": ar["small", 100],
        "ARm": ar["medium", 100],
        "ARl": ar["large", 100],
    }


def _average_precision(weights: IntArray, matches: SizeMatches, n_boxes: Values) -> Values:
    """Mean precision at COCO's 101 recalls (R, 10) of detections with weights (R, N); NaN without boxes."""
    result = np.full((len(weights), len(matches.hits)), np.nan)
    # Most detections are ignored at all IoU thresholds or at none: one long sum is shared, short sums correct it.
    usual = matches.counted.mean(axis=0) >= 0.5
    ranked_usually = np.cumsum(weights * usual, axis=1, dtype=np.int32)
    for threshold, (hits, counted) in enumerate(zip(matches.hits, matches.counted, strict=True)):
        unusual = np.flatnonzero(counted != usual)
        change = np.cumsum(weights[:, unusual] * np.where(counted[unusual], 1, -1), axis=1)
        change = np.pad(change, ((0, 0), (1, 0)))[:, np.searchsorted(unusual, hits, side="right")]
        right = np.cumsum(weights[:, hits], axis=1)  # (R, P)
        precision = right / (ranked_usually[:, hits] + change + EPSILON)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.pad(envelope, ((0, 0), (0, 1)))  # 0 above the highest recall reached
        for row in np.flatnonzero(n_boxes > 0):
            reached = np.searchsorted(right[row] / n_boxes[row], RECALL_GRID, side="left")
            result[row, threshold] = envelope[row, reached].mean()
    return result


def _average_recall(weights: IntArray, one: ClassMatches, size: int, counts: IntArray, most: int) -> Values:
    """Share of the boxes (R,) that the best `most` detections of each image find, averaged over IoU thresholds."""
    matches = one.sizes[size]
    right = [weights[:, hits[one.rank[hits] < most]].sum(axis=1) for hits in matches.hits]
    n_boxes = (counts @ matches.n_boxes).astype(np.float64)
    n_boxes[n_boxes == 0] = np.nan
    recall: Values = np.mean(right, axis=0) / n_boxes
    return recall


def _mean_over_classes(values: Sequence[Values]) -> Values:
    """Mean over the classes with boxes in a resample; NaN if no class has any."""
    stacked = np.stack(values)
    defined = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean: Values = np.where(defined, stacked, 0).sum(axis=0) / defined.sum(axis=0)
    return mean
