"""Non-maximum suppression equals a simple quadratic loop, and torchvision's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import nms, pairwise_iou

THRESHOLDS = (0.0, 0.3, 1 / 3, 0.5, 0.7, 1.0)
SEEDS_PER_COMBINATION = 42  # 4 kinds x 6 thresholds x 42 seeds = 1008 cases, each with and without classes


def float_boxes(random: np.random.Generator, count: int) -> FloatArray:
    corner = random.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + random.uniform(1, 50, (count, 2))], axis=1).astype(np.float32)


def whole_pixel_boxes(random: np.random.Generator, count: int) -> FloatArray:
    """Few coordinates, so that IoUs of exactly 1/3, 1/2 and 1, touching boxes and duplicates are common."""
    corner = random.integers(0, 4, (count, 2))
    return np.concatenate([corner, corner + random.integers(1, 5, (count, 2))], axis=1).astype(np.float32)


def tenth_boxes(random: np.random.Generator, count: int) -> FloatArray:
    """Slices of one 10 px wide strip: nested ones have an IoU of exactly 3/10, 5/10, 7/10 and so on."""
    left = random.integers(0, 2, count) * random.integers(0, 8, count)
    right = np.minimum(left + random.integers(1, 11, count), 10)
    return np.stack([left, np.zeros(count), right, np.ones(count)], axis=1).astype(np.float32)


def flat_and_repeated_boxes(random: np.random.Generator, count: int) -> FloatArray:
    """Sides of 0 are common, and most boxes occur more than once."""
    corner = random.integers(0, 6, (count, 2))
    boxes = np.concatenate([corner, corner + random.integers(0, 3, (count, 2))], axis=1).astype(np.float32)
    return boxes[random.integers(0, max(count // 2, 1), count)] if count else boxes


KINDS: tuple[Callable[[np.random.Generator, int], FloatArray], ...] = (
    float_boxes,
    whole_pixel_boxes,
    tenth_boxes,
    flat_and_repeated_boxes,
)


def random_scores(random: np.random.Generator, count: int) -> FloatArray:
    """Every other draw has many ties."""
    if random.integers(2):
        return (random.integers(0, 5, count) / 4).astype(np.float32)
    return random.uniform(0, 1, count).astype(np.float32)


def scalar_iou(a: list[np.float32], b: list[np.float32]) -> np.float32:
    """IoU of two boxes in float32, one value at a time, so that thresholds are met exactly or not at all."""
    zero = np.float32(0)
    overlap = max(min(a[2], b[2]) - max(a[0], b[0]), zero) * max(min(a[3], b[3]) - max(a[1], b[1]), zero)
    if overlap == 0:
        return zero
    return np.float32(overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap))


def reference_nms(
    boxes: FloatArray, scores: FloatArray, threshold: float, class_ids: IntArray | None = None
) -> list[int]:
    """From best to worst, keep a box unless a kept one (of its class) overlaps it by more than the threshold."""
    rows = [list(row) for row in boxes]
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i)):
        rivals = [k for k in kept if class_ids is None or class_ids[k] == class_ids[index]]
        if all(float(scalar_iou(rows[k], rows[index])) <= threshold for k in rivals):
            kept.append(index)
    return kept


def torchvision_nms(boxes: FloatArray, scores: FloatArray, threshold: float) -> list[int]:
    kept: list[int] = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).tolist()
    return kept


def torchvision_nms_per_class(
    boxes: FloatArray, scores: FloatArray, threshold: float, class_ids: IntArray
) -> list[int]:
    kept: list[int] = []
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        kept += [int(members[i]) for i in torchvision_nms(boxes[members], scores[members], threshold)]
    return sorted(kept, key=lambda i: (-float(scores[i]), i))


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("make_boxes", KINDS)
def test_nms_agrees_with_quadratic_reference_and_torchvision(
    make_boxes: Callable[[np.random.Generator, int], FloatArray], threshold: float
) -> None:
    candidates = suppressed = 0
    for seed in range(SEEDS_PER_COMBINATION):
        random = np.random.default_rng(seed)
        count = int(random.integers(0, 30))
        boxes, scores = make_boxes(random, count), random_scores(random, count)
        class_ids = random.integers(0, 3, count)
        label = f"seed {seed}"
        kept = nms(boxes, scores, threshold)
        assert kept.dtype == np.int64, label
        assert kept.tolist() == reference_nms(boxes, scores, threshold), label
        assert kept.tolist() == torchvision_nms(boxes, scores, threshold), label
        of_class = nms(boxes, scores, threshold, class_ids=class_ids).tolist()
        assert of_class == reference_nms(boxes, scores, threshold, class_ids), label
        assert of_class == torchvision_nms_per_class(boxes, scores, threshold, class_ids), label
        candidates, suppressed = candidates + count, suppressed + count - len(kept)
    assert candidates > 400
    assert (suppressed > 0) == (threshold < 1), "the threshold must have had something to do"


@pytest.mark.parametrize(
    ("threshold", "make_boxes"),
    [(1 / 3, whole_pixel_boxes), (0.5, whole_pixel_boxes), (0.3, tenth_boxes), (0.7, tenth_boxes)],
)
def test_random_boxes_do_meet_the_threshold_exactly(
    threshold: float, make_boxes: Callable[[np.random.Generator, int], FloatArray]
) -> None:
    draws = [make_boxes(np.random.default_rng(seed), 30) for seed in range(SEEDS_PER_COMBINATION)]
    meeting = sum(int((pairwise_iou(boxes, boxes) == np.float32(threshold)).sum()) for boxes in draws)
    assert meeting > 100


def test_a_box_that_overlaps_by_exactly_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, np.nextafter(0.5, 0)).tolist() == [0]


def test_equal_boxes_stay_at_threshold_1_and_touching_boxes_at_threshold_0() -> None:
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(np.tile(np.array([1, 1, 5, 5], np.float32), (3, 1)), scores, 1.0).tolist() == [0, 1, 2]
    touching = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4]], np.float32)
    assert nms(touching, scores, 0.0).tolist() == [0, 1, 2]


def test_best_boxes_come_first_and_ties_keep_the_lower_index() -> None:
    apart = np.array([[i * 10, 0, i * 10 + 5, 5] for i in range(6)], np.float32)
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.9, 0.5], np.float32)
    assert nms(apart, scores, 0.5).tolist() == [1, 4, 0, 2, 5, 3]
    together = np.tile(np.array([0, 0, 5, 5], np.float32), (6, 1))
    assert nms(together, scores, 0.5).tolist() == [1]
    assert nms(together, np.full(6, 0.5, np.float32), 0.5).tolist() == [0]


def test_a_suppressed_box_suppresses_no_other() -> None:
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert nms(chain, np.array([0.9, 0.8, 0.7], np.float32), 0.3).tolist() == [0, 2]


def test_boxes_of_other_classes_do_not_suppress_each_other() -> None:
    boxes = np.tile(np.array([0, 0, 5, 5], np.float32), (4, 1))
    scores = np.array([0.4, 0.9, 0.8, 0.7], np.float32)
    assert nms(boxes, scores, 0.5, class_ids=np.array([7, 0, 7, 0])).tolist() == [1, 2]


def test_boxes_without_area_never_suppress_nor_fall() -> None:
    boxes = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 3, 3], [1, 0, 1, 3]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32), 0.0).tolist() == [0, 1, 2, 3]


def test_no_boxes_give_no_indices() -> None:
    boxes, scores, class_ids = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    for kept in (nms(boxes, scores, 0.5), nms(boxes, scores, 0.5, class_ids=class_ids)):
        assert kept.shape == (0,)
        assert kept.dtype == np.int64


def test_nms_leaves_its_arguments_alone() -> None:
    random = np.random.default_rng(5)
    boxes, scores = float_boxes(random, 20), random_scores(random, 20)
    class_ids = random.integers(0, 2, 20)
    copies = boxes.copy(), scores.copy(), class_ids.copy()
    nms(boxes, scores, 0.3, class_ids=class_ids)
    for array, copy in zip((boxes, scores, class_ids), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
