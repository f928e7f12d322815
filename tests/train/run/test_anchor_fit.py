"""The coverage of boxes is compared with a search over every anchor; fitted anchors cover the boxes better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.errors import TrainingError
from mmpnet.train.run.anchor_fit import best_anchors, coverage, suggested_anchors, suited_anchors

INPUT_HW = (96, 128)
ANCHORS = AnchorSpec(sizes_px=(12.0, 40.0), aspect_ratios=(0.7, 2.0), stride=8)


def random_boxes(seed: int, count: int) -> FloatArray:
    random = np.random.default_rng(seed)
    center = random.uniform(0, 1, (count, 2)) * INPUT_HW[::-1]
    half = random.uniform(2, 40, (count, 2))
    boxes = np.concatenate([center - half, center + half], axis=1).clip(0, (*INPUT_HW[::-1], *INPUT_HW[::-1]))
    return boxes.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_best_anchor_is_the_best_of_all(seed: int) -> None:
    boxes = random_boxes(seed, 20)
    flat, iou = best_anchors(boxes, ANCHORS, INPUT_HW)
    every = ANCHORS.boxes_xyxy(INPUT_HW)
    exhaustive = pairwise_iou(boxes, every)
    np.testing.assert_allclose(iou, exhaustive.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(exhaustive[np.arange(len(boxes)), flat], exhaustive.max(axis=1), atol=1e-5)


def test_coverage_counts_by_size_and_all_together() -> None:
    boxes = [random_boxes(1, 30), np.zeros((0, 4), np.float32), random_boxes(2, 30)]
    rows = {row.name: row for row in coverage(boxes, ANCHORS, INPUT_HW)}
    every = ANCHORS.boxes_xyxy(INPUT_HW)
    best = np.concatenate([pairwise_iou(b, every).max(axis=1) for b in boxes])
    assert rows["all"].boxes == 60
    assert rows["all"].best_possible_recall == pytest.approx((best >= 0.5).mean())
    assert rows["all"].mean_best_iou == pytest.approx(best.mean(), abs=1e-5)
    assert sum(rows[name].boxes for name in ("small", "medium", "large")) == 60
    assert rows["large"].boxes == 0


def test_boxes_of_one_image_that_want_the_same_anchor_are_counted() -> None:
    box = np.array([[20, 20, 32, 32]], np.float32)
    alone = coverage([box, box], ANCHORS, INPUT_HW)[-1]
    together = coverage([np.concatenate([box, box + 0.5, box + 50])], ANCHORS, INPUT_HW)[-1]
    assert alone.shared == 0
    assert together.shared == pytest.approx(2 / 3)


def test_suggested_anchors_find_the_sizes_and_ratios_there_are() -> None:
    random = np.random.default_rng(0)
    sides = [(size / np.sqrt(ratio), size * np.sqrt(ratio)) for size in (10, 30, 90) for ratio in (0.5, 2.0)]
    boxes = [np.array([[0, 0, w * f, h * f] for w, h in sides], np.float32) for f in random.uniform(0.95, 1.05, 40)]
    found = suggested_anchors(boxes, num_sizes=3, num_aspect_ratios=2, stride=8)
    np.testing.assert_allclose(found.sizes_px, (10, 30, 90), rtol=0.05)
    np.testing.assert_allclose(found.aspect_ratios, (0.5, 2.0), rtol=0.05)


def test_suggested_anchors_cover_better_than_unsuitable_ones() -> None:
    boxes = [random_boxes(seed, 10) for seed in range(20)]
    suited = suggested_anchors(boxes, num_sizes=2, num_aspect_ratios=2, stride=8)
    unsuitable = AnchorSpec(sizes_px=(3.0, 200.0), aspect_ratios=(0.1, 8.0), stride=8)
    better, worse = (coverage(boxes, spec, INPUT_HW)[-1].mean_best_iou for spec in (suited, unsuitable))
    assert better > worse + 0.2


@pytest.mark.parametrize("boxes", [[], [np.array([[0, 0, 8, 8]], np.float32)] * 5, [random_boxes(0, 1)]])
def test_too_few_different_boxes_are_one_line(boxes: list[FloatArray]) -> None:
    with pytest.raises(TrainingError, match=r"too few or too alike .* --sizes and --ratios"):
        suggested_anchors(boxes, num_sizes=2, num_aspect_ratios=2, stride=8)


def test_fewer_boxes_than_anchors_are_one_line_however_different_they_are() -> None:
    with pytest.raises(TrainingError, match="3 boxes are too few"):
        suggested_anchors([random_boxes(0, 3)], num_sizes=4, num_aspect_ratios=2, stride=8)
    assert suggested_anchors([random_boxes(0, 4)], num_sizes=4, num_aspect_ratios=2, stride=8).num_sizes == 4


def test_boxes_as_thin_as_a_hair_still_suggest_anchors() -> None:
    boxes = [np.array([[0, 0, 0.01 * k, 30 + 9 * k] for k in range(1, 9)], np.float32)]
    spec = suggested_anchors(boxes, num_sizes=2, num_aspect_ratios=2, stride=8)
    tall = suggested_anchors([b[:, [1, 0, 3, 2]] for b in boxes], num_sizes=2, num_aspect_ratios=2, stride=8)
    assert min(spec.sizes_px) > 0
    assert min(tall.aspect_ratios) > 0


def test_the_given_anchors_stay_where_the_data_suggest_no_better_ones() -> None:
    boxes = [np.array([[0, 0, 32, 32], [40, 40, 104, 104]], np.float32)] * 3
    lines: list[str] = []
    perfect = AnchorSpec((32.0, 64.0), (1.0,), 8)
    assert suited_anchors(perfect, boxes, (128, 128), lines.append) is perfect
    unsuitable = AnchorSpec((8.0, 16.0), (1.0,), 8)
    chosen = suited_anchors(unsuitable, boxes, (128, 128), lines.append)
    assert coverage(boxes, chosen, (128, 128))[-1].best_possible_recall == 1
    assert sum("no better, so the given ones stay" in line for line in lines) == 1
