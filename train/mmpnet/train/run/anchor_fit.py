"""How well a label grid covers the boxes of a dataset, and which anchors would cover them better."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.errors import TrainingError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.types import LabeledImage
from mmpnet.system.progress import Notice

RECALL_IOU = 0.5
OBJECT_SIZES = (("small", 0.0, 32.0), ("medium", 32.0, 96.0), ("large", 96.0, float("inf")))
"""COCO's bounds of sqrt(area), here in input px."""
_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Coverage:
    """Boxes of one size range: their number, the mean IoU with their best anchors, the share where that is at least
    0.5, and the share whose best anchor is also the best one of another box of the image, so that one of the two boxes
    has to be learned by a worse anchor."""

    name: str
    boxes: int
    mean_best_iou: float
    best_possible_recall: float
    shared: float


def input_boxes(images: Iterable[LabeledImage], letterbox: Letterbox) -> list[FloatArray]:
    """Return the boxes (N, 4) of each image in input px, without crowds."""
    return [letterbox.fit(image.image_hw).to_input(image.boxes_xyxy[~image.crowd]) for image in images]


def best_anchors(boxes_xyxy: FloatArray, anchors: AnchorSpec, input_hw: tuple[int, int]) -> tuple[IntArray, FloatArray]:
    """Return the flat index (N,) of the best anchor of each box, and their IoU (N,).

    Anchors of each size and ratio overlap a box most at the nearest cell, so only that cell is compared.
    """
    rows, cols = anchors.grid_hw(input_hw)
    kinds = anchors.boxes_xyxy((anchors.stride, anchors.stride)) - anchors.stride / 2  # (K, 4) around the origin
    center = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    cell = np.floor(center / anchors.stride).astype(np.int64).clip(0, (cols - 1, rows - 1))  # (N, 2) col, row
    around = kinds[None] + np.tile((cell + 0.5) * anchors.stride, 2)[:, None]  # (N, K, 4)
    low = np.maximum(boxes_xyxy[:, None, :2], around[..., :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], around[..., 2:])
    overlap = (high - low).clip(0).prod(axis=2)  # (N, K)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)[:, None] + (kinds[:, 2:] - kinds[:, :2]).prod(axis=1)
    iou = overlap / (areas - overlap)
    kind = iou.argmax(axis=1)
    return (kind * rows + cell[:, 1]) * cols + cell[:, 0], iou.max(axis=1).astype(np.float32)


def coverage(boxes: Sequence[FloatArray], anchors: AnchorSpec, input_hw: tuple[int, int]) -> tuple[Coverage, ...]:
    """Return the coverage of small, medium, large and all boxes of images, (N, 4) each in input px."""
    rows = [np.zeros((0, 3))]  # side, IoU, whether the anchor is shared
    for of_image in boxes:
        if not len(of_image):
            continue
        flat, iou = best_anchors(of_image, anchors, input_hw)
        _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
        side = np.sqrt((of_image[:, 2:] - of_image[:, :2]).prod(axis=1))
        rows.append(np.stack([side, iou, counts[inverse] > 1], axis=1))
    table = np.concatenate(rows)
    ranges = (*OBJECT_SIZES, ("all", 0.0, float("inf")))
    return tuple(_coverage(name, table[(table[:, 0] >= low) & (table[:, 0] < high)]) for name, low, high in ranges)


def _coverage(name: str, rows: NDArray[np.float64]) -> Coverage:
    if not len(rows):
        return Coverage(name, 0, 0.0, 0.0, 0.0)
    iou, shared = rows[:, 1], rows[:, 2]
    return Coverage(name, len(iou), float(iou.mean()), float((iou >= RECALL_IOU).mean()), float(shared.mean()))


def suggested_anchors(
    boxes: Sequence[FloatArray], *, num_sizes: int, num_aspect_ratios: int, stride: int
) -> AnchorSpec:
    """Return sizes and aspect ratios by k-means of log size and log ratio of the boxes, separately, because a label
    grid has every size in every ratio (clustering of boxes after Redmon and Farhadi 2017).

    Raises: TrainingError if there are fewer different boxes than requested anchors.
    """
    wh = np.concatenate([np.zeros((0, 2)), *(of_image[:, 2:] - of_image[:, :2] for of_image in boxes)])
    wh = wh[(wh > 0).all(axis=1)]
    log_sizes, log_ratios = np.log(wh.prod(axis=1)) / 2, np.log(wh[:, 1] / wh[:, 0])
    centers = _k_means(log_sizes, num_sizes), _k_means(log_ratios, num_aspect_ratios)
    sizes_px, aspect_ratios = (tuple(float(f"{value:.3g}") for value in np.exp(logs)) for logs in centers)
    # Boxes are counted too, because centers without a box stay different from each other.
    different = min(_distinct(log_sizes) - num_sizes, _distinct(log_ratios) - num_aspect_ratios)
    if different < 0 or len(set(sizes_px)) < num_sizes or len(set(aspect_ratios)) < num_aspect_ratios:
        raise TrainingError(
            f"{len(wh)} boxes are too few or too alike for {num_sizes} sizes and {num_aspect_ratios} aspect ratios; "
            "give --sizes and --ratios instead of --anchors auto"
        )
    return AnchorSpec(sizes_px=sizes_px, aspect_ratios=aspect_ratios, stride=stride)


def suited_anchors(
    given: AnchorSpec, boxes: Sequence[FloatArray], input_hw: tuple[int, int], notice: Notice
) -> AnchorSpec:
    """Return as many sizes and aspect ratios as given, fitted to the boxes; or the given ones, if the fitted ones cover
    the boxes no better. `notice` gets a line about both.

    Raises: TrainingError as `suggested_anchors`.
    """
    found = suggested_anchors(
        boxes, num_sizes=given.num_sizes, num_aspect_ratios=given.num_aspect_ratios, stride=given.stride
    )
    recalls = [coverage(boxes, anchors, input_hw)[-1].best_possible_recall for anchors in (given, found)]
    kept = "" if recalls[1] > recalls[0] else ": no better, so the given ones stay"
    notice(
        f"anchors from the data: sizes {found.sizes_px} px, aspect ratios {found.aspect_ratios}; best possible recall "
        f"{recalls[1]:.1%}, of the given ones {recalls[0]:.1%}{kept}"
    )
    return given if kept else found


def _distinct(logs: NDArray[np.float64]) -> int:
    """Return the number of different values; differences below a thousandth do not count."""
    return len(np.unique(logs.round(3)))


def _k_means(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the centers (count,), ascending, of Lloyd's algorithm in one dimension, started at evenly spread
    quantiles."""
    if not len(values):
        return np.zeros(count)
    centers = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(_ROUNDS):
        nearest = np.abs(values[:, None] - centers).argmin(axis=1)
        moved = np.array([values[nearest == k].mean() if (nearest == k).any() else centers[k] for k in range(count)])
        if np.allclose(moved, centers):
            break
        centers = moved
    return np.sort(centers)
