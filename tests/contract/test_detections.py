"""Detections are checked when made; candidates become detections by threshold, NMS, limit and letterbox transform."""

import math

import numpy as np
import pytest

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.detections import Detections, select_detections
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.thresholds import Thresholds

PLACEMENT = Letterbox(input_hw=(100, 100)).fit((100, 200))  # half size, 25 px of padding above and below
UNMOVED = Letterbox(input_hw=(64, 64)).fit((64, 64))


def good_arrays(count: int = 3) -> tuple[FloatArray, FloatArray, IntArray]:
    boxes = np.tile(np.array([0, 0, 5, 5], np.float32), (count, 1))
    return boxes, np.linspace(0.9, 0.1, count, dtype=np.float32), np.zeros(count, np.int64)


def reference_iou(a: FloatArray, b: FloatArray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))


def reference_selection(
    boxes: FloatArray, scores: FloatArray, class_ids: IntArray, thresholds: Thresholds
) -> list[int]:
    """Indices of the detections, best first, by a simple loop."""
    chosen: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i)):
        rivals = [k for k in chosen if class_ids[k] == class_ids[index]]
        hidden = any(reference_iou(boxes[k], boxes[index]) > thresholds.iou for k in rivals)
        if scores[index] >= thresholds.conf and not hidden:
            chosen.append(index)
    return chosen[: thresholds.max_det]


def reference_vote(index: int, boxes: FloatArray, scores: FloatArray, class_ids: IntArray) -> FloatArray:
    """The position of one box after the votes of its class."""
    votes = [
        float(score) ** 3 * max(reference_iou(boxes[index], box) - 0.5, 0) ** 2 * (class_id == class_ids[index])
        for box, score, class_id in zip(boxes, scores, class_ids, strict=True)
    ]
    moved: FloatArray = (np.array(votes)[:, None] * boxes.astype(np.float64)).sum(axis=0) / sum(votes)
    return moved


def test_no_detections_are_fine() -> None:
    assert len(Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))) == 0


def test_detections_count_their_boxes_and_may_tie() -> None:
    boxes, _, class_ids = good_arrays()
    assert len(Detections(boxes, np.array([0.5, 0.5, 0.25], np.float32), class_ids)) == 3


@pytest.mark.parametrize(
    ("xyxy_shape", "score_shape", "class_id_shape"),
    [
        ((2, 4), (3,), (3,)),
        ((3, 5), (3,), (3,)),
        ((12,), (3,), (3,)),
        ((3, 4), (3,), (2,)),
        ((3, 4), (3,), (3, 1)),
        ((3, 4), (3, 1), (3,)),
        ((0,), (0,), (0,)),
        ((1, 4), (), (1,)),
    ],
)
def test_shapes_that_disagree_are_refused(
    xyxy_shape: tuple[int, ...], score_shape: tuple[int, ...], class_id_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="xyxy must be"):
        Detections(
            np.zeros(xyxy_shape, np.float32), np.zeros(score_shape, np.float32), np.zeros(class_id_shape, np.int64)
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    boxes, scores, class_ids = good_arrays()
    bad_boxes, bad_scores = boxes.copy(), scores.copy()
    bad_boxes[1, 2] = bad_scores[1] = value
    with pytest.raises(ValueError, match="must be finite"):
        Detections(bad_boxes, scores, class_ids)
    with pytest.raises(ValueError, match="must be finite"):
        Detections(boxes, bad_scores, class_ids)


def test_detections_out_of_order_are_refused() -> None:
    boxes, _, class_ids = good_arrays()
    with pytest.raises(ValueError, match="best first"):
        Detections(boxes, np.array([0.9, 0.1, 0.2], np.float32), class_ids)


def test_rows_are_selected_by_a_slice_a_mask_or_numbers() -> None:
    every = Detections(*good_arrays())
    for rows in (slice(1, None), np.arange(len(every)) >= 1, np.arange(1, len(every))):
        rest = every[rows]
        np.testing.assert_array_equal(rest.xyxy, every.xyxy[1:])
        np.testing.assert_array_equal(rest.score, every.score[1:])
        np.testing.assert_array_equal(rest.class_id, every.class_id[1:])
    assert len(every[:0]) == 0
    with pytest.raises(ValueError, match="best first"):
        every[np.arange(len(every))[::-1]]


def test_scores_at_the_threshold_are_kept_and_those_below_are_not() -> None:
    boxes = np.array([[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]], np.float32)
    conf = np.float32(0.4)
    scores = np.array([np.nextafter(conf, np.float32(0)), conf, np.nextafter(conf, np.float32(1))], np.float32)
    found = select_detections(boxes, scores, np.zeros(3, np.int64), transform=UNMOVED, thresholds=Thresholds(conf=0.4))
    np.testing.assert_allclose(found.xyxy, boxes[[2, 1]], atol=1e-5)
    np.testing.assert_array_equal(found.score, scores[[2, 1]])


def test_nms_acts_within_a_class_only() -> None:
    boxes = np.array([[0, 0, 20, 10], [0, 0, 10, 10], [0, 0, 9, 10]], np.float32)
    scores, class_ids = np.array([0.7, 0.9, 0.8], np.float32), np.array([0, 0, 1])
    found = select_detections(boxes, scores, class_ids, transform=UNMOVED, thresholds=Thresholds(conf=0.1, iou=0.4))
    np.testing.assert_array_equal(found.class_id, [0, 1])
    np.testing.assert_allclose(found.xyxy, boxes[[1, 2]], atol=1e-5)


def test_a_kept_box_is_moved_by_the_vote_of_those_it_beat_and_of_unsure_ones() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [40, 40, 50, 50]], np.float32)
    scores, class_ids = np.array([0.9, 0.8, 0.1, 0.7], np.float32), np.zeros(4, np.int64)
    found = select_detections(boxes, scores, class_ids, transform=UNMOVED, thresholds=Thresholds(conf=0.4, iou=0.5))
    weights = np.array([0.9**3 * 0.5**2, 0.8**3 * 0.4**2, 0.1**3 * 0.3**2])
    bottom = float(weights @ [10, 9, 8] / weights.sum())
    expected = np.array([[0, 0, 10, bottom], [40, 40, 50, 50]], np.float32)
    np.testing.assert_allclose(found.xyxy, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.score, scores[[0, 3]])


def test_nms_compares_boxes_before_they_are_clipped_to_the_frame() -> None:
    # In the frame both are the same thin box; in the input they barely overlap.
    boxes = np.array([[-100, 30, 10, 40], [0, 30, 10, 40]], np.float32)
    found = select_detections(
        boxes,
        np.array([0.9, 0.8], np.float32),
        np.zeros(2, np.int64),
        transform=PLACEMENT,
        thresholds=Thresholds(),
    )
    np.testing.assert_allclose(found.xyxy, [[0, 10, 20, 30], [0, 10, 20, 30]], atol=1e-4)


def test_only_the_best_max_det_boxes_stay_and_suppressed_ones_do_not_count() -> None:
    boxes = np.array([[0, 0, 5, 5], [0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]], np.float32)
    scores = np.array([0.9, 0.8, 0.5, 0.7], np.float32)
    found = select_detections(boxes, scores, np.zeros(4, np.int64), transform=UNMOVED, thresholds=Thresholds(max_det=2))
    np.testing.assert_allclose(found.xyxy, boxes[[0, 3]], atol=1e-5)


def test_boxes_are_mapped_back_to_the_frame_and_clipped() -> None:
    boxes = np.array([[10, 30, 30, 70], [60, 0, 140, 100]], np.float32)
    found = select_detections(
        boxes,
        np.array([0.9, 0.8], np.float32),
        np.zeros(2, np.int64),
        transform=PLACEMENT,
        thresholds=Thresholds(),
    )
    np.testing.assert_allclose(found.xyxy, [[20, 10, 60, 90], [120, 0, 200, 100]], atol=1e-4)
    assert found.xyxy.dtype == np.float32


@pytest.mark.parametrize("count", [0, 4])
def test_no_confident_candidates_give_no_detections(count: int) -> None:
    boxes, _, class_ids = good_arrays(count)
    found = select_detections(
        boxes, np.full(count, 0.39, np.float32), class_ids, transform=PLACEMENT, thresholds=Thresholds(conf=0.4)
    )
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_selection_agrees_with_an_obvious_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 70, (60, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 40, (60, 2))], axis=1).astype(np.float32)
    scores, class_ids = (random.integers(0, 21, 60) / 20).astype(np.float32), random.integers(0, 3, 60)
    thresholds = Thresholds(conf=0.25, iou=0.3, max_det=25)
    found = select_detections(boxes, scores, class_ids, transform=PLACEMENT, thresholds=thresholds)
    expected = reference_selection(boxes, scores, class_ids, thresholds)
    assert 5 < len(expected) < 60
    np.testing.assert_array_equal(found.score, scores[expected])
    np.testing.assert_array_equal(found.class_id, class_ids[expected])
    moved = np.array([reference_vote(index, boxes, scores, class_ids) for index in expected])
    in_frame = (moved - [0, 25, 0, 25]) * 2
    np.testing.assert_allclose(found.xyxy, np.clip(in_frame, 0, [200, 100, 200, 100]), atol=1e-4)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_thresholds_must_lie_within_0_and_1(value: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        Thresholds(conf=value)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        Thresholds(iou=value)


@pytest.mark.parametrize("max_det", [0, -1])
def test_max_det_must_be_at_least_1(max_det: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {max_det}"):
        Thresholds(max_det=max_det)


def test_thresholds_may_stand_at_their_limits() -> None:
    assert (Thresholds(conf=0, iou=0, max_det=1).conf, Thresholds(conf=1, iou=1).iou) == (0, 1)
