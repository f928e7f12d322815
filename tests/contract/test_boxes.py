"""IoU, offsets and clipping have their mathematical properties, for coordinates at which float32 is exact."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.boxes import (
    MAX_LOG_RATIO,
    area,
    clip,
    decode_offsets,
    encode_offsets,
    pairwise_iou,
    vote_boxes,
)

PROPERTY = settings(derandomize=True, deadline=None, max_examples=150, database=None)

# Quarter pixels below 512: areas and their sums are whole sixteenths below 2^23, exact in float32.
QUARTERS = st.integers(0, 2047).map(lambda quarter: quarter / 4)
NEAR = st.integers(0, 6).map(float)  # few values, so that equal, touching, nested and empty boxes are common
BoxTuple = tuple[float, float, float, float]


def ordered(x0: float, x1: float, y0: float, y1: float) -> BoxTuple:
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def boxes_on(coordinate: st.SearchStrategy[float]) -> st.SearchStrategy[BoxTuple]:
    """Boxes whose sides may be 0."""
    return st.builds(ordered, coordinate, coordinate, coordinate, coordinate)


BOXES = st.one_of(boxes_on(QUARTERS), boxes_on(NEAR))
BOXES_WITH_AREA = BOXES.filter(lambda box: box[2] > box[0] and box[3] > box[1])
BOX_LISTS = st.lists(BOXES, max_size=6)


def as_array(boxes: list[BoxTuple]) -> FloatArray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def reference_iou(a: BoxTuple, b: BoxTuple) -> float:
    """IoU of two boxes in float64, one number at a time."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = width * height if width > 0 and height > 0 else 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def has_area(box: BoxTuple) -> bool:
    return box[2] > box[0] and box[3] > box[1]


@PROPERTY
@given(BOX_LISTS, BOX_LISTS)
def test_iou_agrees_with_scalar_reference(a: list[BoxTuple], b: list[BoxTuple]) -> None:
    iou = pairwise_iou(as_array(a), as_array(b))
    assert iou.shape == (len(a), len(b))
    assert iou.dtype == np.float32
    expected = np.array([[reference_iou(one, other) for other in b] for one in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(iou, expected, rtol=2e-7, atol=0)


@PROPERTY
@given(BOX_LISTS, BOX_LISTS)
def test_iou_is_symmetric_and_within_0_and_1(a: list[BoxTuple], b: list[BoxTuple]) -> None:
    iou = pairwise_iou(as_array(a), as_array(b))
    np.testing.assert_array_equal(iou, pairwise_iou(as_array(b), as_array(a)).T)
    assert ((iou >= 0) & (iou <= 1)).all()


@PROPERTY
@given(BOXES, BOXES)
def test_iou_is_1_exactly_for_equal_boxes_with_area(a: BoxTuple, b: BoxTuple) -> None:
    iou = pairwise_iou(as_array([a, b]), as_array([a, b]))
    assert (iou[0, 0] == 1) == has_area(a)
    assert (iou[0, 1] == 1) == (a == b and has_area(a))


@PROPERTY
@given(BOXES_WITH_AREA, st.integers(0, 3))
def test_iou_falls_below_1_when_one_edge_moves_by_a_quarter_pixel(box: BoxTuple, edge: int) -> None:
    moved = list(box)
    moved[edge] += 0.25 if edge >= 2 else -0.25
    assert 0 < pairwise_iou(as_array([box]), np.array([moved], np.float32))[0, 0] < 1


@PROPERTY
@given(BOXES_WITH_AREA, BOXES_WITH_AREA, st.booleans(), st.integers(0, 8))
def test_iou_is_0_for_touching_and_for_disjoint_boxes(a: BoxTuple, b: BoxTuple, below: bool, gap_px: int) -> None:
    shift_x, shift_y = (0.0, a[3] - b[1] + gap_px) if below else (a[2] - b[0] + gap_px, 0.0)
    moved = (b[0] + shift_x, b[1] + shift_y, b[2] + shift_x, b[3] + shift_y)
    np.testing.assert_array_equal(pairwise_iou(as_array([a, moved]), as_array([a, moved])), np.eye(2))


@PROPERTY
@given(BOXES, BOXES, st.sampled_from(["point", "horizontal line", "vertical line"]))
def test_iou_is_0_for_boxes_without_area(box: BoxTuple, other: BoxTuple, kind: str) -> None:
    right = box[2] if kind == "horizontal line" else box[0]
    bottom = box[3] if kind == "vertical line" else box[1]
    flat = (box[0], box[1], right, bottom)
    np.testing.assert_array_equal(pairwise_iou(as_array([flat]), as_array([flat, box, other])), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 1), (1, 0, 3, 1), 1 / 3),
        ((0, 0, 2, 2), (0, 0, 2, 1), 1 / 2),
        ((0, 0, 10, 1), (0, 0, 3, 1), 3 / 10),
        ((0, 0, 4, 4), (2, 2, 6, 6), 4 / 28),
        ((-3, -3, -1, -1), (-2, -2, 0, 0), 1 / 7),
    ],
)
def test_iou_of_boxes_worked_out_by_hand(a: BoxTuple, b: BoxTuple, expected: float) -> None:
    assert pairwise_iou(as_array([a]), as_array([b]))[0, 0] == np.float32(expected)


def test_boxes_turned_inside_out_have_no_area_and_overlap_nothing() -> None:
    boxes = np.array([[5, 0, 1, 4], [0, 4, 4, 0], [5, 5, 1, 1], [0, 0, 8, 8]], np.float32)
    np.testing.assert_array_equal(area(boxes), [0, 0, 0, 64])
    np.testing.assert_array_equal(pairwise_iou(boxes, boxes), np.diag([0, 0, 0, 1]))


@PROPERTY
@given(BOX_LISTS)
def test_area_is_width_times_height(boxes: list[BoxTuple]) -> None:
    expected = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    np.testing.assert_array_equal(area(as_array(boxes)), expected)


@PROPERTY
@given(st.lists(st.tuples(BOXES_WITH_AREA, BOXES_WITH_AREA), max_size=6))
def test_decoded_offsets_give_back_the_encoded_boxes(pairs: list[tuple[BoxTuple, BoxTuple]]) -> None:
    limit = math.exp(MAX_LOG_RATIO)
    pairs = [
        (box, anchor)
        for box, anchor in pairs
        if box[2] - box[0] < limit * (anchor[2] - anchor[0]) and box[3] - box[1] < limit * (anchor[3] - anchor[1])
    ]
    boxes, anchors = as_array([box for box, _ in pairs]), as_array([anchor for _, anchor in pairs])
    offsets = encode_offsets(boxes, anchors)
    assert offsets.shape == boxes.shape
    assert offsets.dtype == np.float32
    decoded = decode_offsets(offsets, anchors)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, boxes, rtol=0, atol=2e-3)


@PROPERTY
@given(BOXES_WITH_AREA, BOXES_WITH_AREA)
def test_offsets_agree_with_the_ssd_formula(box: BoxTuple, anchor: BoxTuple) -> None:
    anchor_w, anchor_h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    expected = [
        ((box[0] + box[2]) - (anchor[0] + anchor[2])) / 2 / anchor_w / 0.1,
        ((box[1] + box[3]) - (anchor[1] + anchor[3])) / 2 / anchor_h / 0.1,
        math.log((box[2] - box[0]) / anchor_w) / 0.2,
        math.log((box[3] - box[1]) / anchor_h) / 0.2,
    ]
    np.testing.assert_allclose(encode_offsets(as_array([box]), as_array([anchor]))[0], expected, rtol=1e-6, atol=2e-6)


def test_zero_offsets_decode_to_the_anchor() -> None:
    anchors = np.array([[0, 0, 8, 16], [-4, 2, 12, 4]], np.float32)
    np.testing.assert_array_equal(decode_offsets(np.zeros((2, 4), np.float32), anchors), anchors)


@pytest.mark.parametrize("flat", [(1, 1, 1, 5), (1, 1, 5, 1), (3, 3, 3, 3), (5, 1, 1, 5), (1, 5, 5, 1), (5, 5, 1, 1)])
def test_encoding_refuses_boxes_and_anchors_without_area(flat: BoxTuple) -> None:
    good, bad = as_array([(0, 0, 4, 4), (1, 1, 3, 3)]), as_array([(0, 0, 4, 4), flat])
    with pytest.raises(ValueError, match="must have an area"):
        encode_offsets(bad, good)
    with pytest.raises(ValueError, match="must have an area"):
        encode_offsets(good, bad)


LARGEST = float(np.finfo(np.float32).max)


@PROPERTY
@given(
    shift=st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2),
    scale=st.tuples(*[st.floats(-LARGEST, LARGEST, width=32)] * 2),
    anchor=BOXES_WITH_AREA,
)
def test_wild_offsets_decode_to_finite_boxes_of_capped_sides(
    shift: tuple[float, float], scale: tuple[float, float], anchor: BoxTuple
) -> None:
    decoded = decode_offsets(np.array([[*shift, *scale]], np.float32), as_array([anchor]))
    assert np.isfinite(decoded).all()
    sides = (decoded[0, 2:] - decoded[0, :2]).astype(np.float64)
    anchor_wh = np.array([anchor[2] - anchor[0], anchor[3] - anchor[1]])
    rounding_px = 4 * np.spacing(np.abs(decoded).max())
    assert (sides >= 0).all()
    assert (sides <= anchor_wh * math.exp(MAX_LOG_RATIO) * (1 + 1e-6) + rounding_px).all()


@pytest.mark.parametrize("log_size", [4.0 / 0.2, 21.0, 1e3, 1e30, math.inf])
def test_side_offsets_beyond_the_cap_all_decode_alike(log_size: float) -> None:
    anchors = np.array([[0, 0, 2, 4]], np.float32)
    decoded = decode_offsets(np.array([[0, 0, log_size, log_size]], np.float32), anchors)
    half_w, half_h = math.exp(4.0) * 1, math.exp(4.0) * 2
    np.testing.assert_allclose(decoded[0], [1 - half_w, 2 - half_h, 1 + half_w, 2 + half_h], rtol=1e-6)


@PROPERTY
@given(
    st.lists(boxes_on(st.integers(-2000, 2000).map(float)), max_size=8),
    st.integers(1, 700),
    st.integers(1, 700),
)
def test_clip_keeps_the_part_inside_the_image_and_is_idempotent(boxes: list[BoxTuple], height: int, width: int) -> None:
    original = as_array(boxes)
    before = original.copy()
    clipped = clip(original, (height, width))
    np.testing.assert_array_equal(original, before)
    assert clipped.dtype == np.float32
    expected = [
        (min(max(x0, 0), width), min(max(y0, 0), height), min(max(x1, 0), width), min(max(y1, 0), height))
        for x0, y0, x1, y1 in boxes
    ]
    np.testing.assert_array_equal(clipped, as_array(expected))
    np.testing.assert_array_equal(clip(clipped, (height, width)), clipped)


def test_clip_leaves_boxes_inside_the_image_alone_and_flattens_those_outside() -> None:
    boxes = np.array([[0, 0, 20, 10], [3.5, 2.25, 7, 9], [25, 12, 30, 40], [-9, -9, -1, 5]], np.float32)
    clipped = clip(boxes, (10, 20))
    np.testing.assert_array_equal(clipped[:2], boxes[:2])
    np.testing.assert_array_equal(area(clipped[2:]), [0, 0])


@PROPERTY
@given(BOX_LISTS.filter(bool), st.data())
def test_a_vote_stays_between_the_boxes_that_overlap(boxes: list[BoxTuple], data: st.DataObject) -> None:
    count = len(boxes)
    scores = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=count, max_size=count)), np.float32
    )
    class_ids = np.array(data.draw(st.lists(st.integers(1, 2), min_size=count, max_size=count)))
    every = as_array(boxes)
    moved = vote_boxes(every, every, scores, kept_ids=class_ids, class_ids=class_ids)
    assert moved.dtype == np.float32
    iou = pairwise_iou(every, every)
    for index, box in enumerate(moved):
        voters = every[(iou[index] > 0.5) & (class_ids == class_ids[index]) | (np.arange(count) == index)]
        assert (box >= voters.min(axis=0) - 1e-3).all()
        assert (box <= voters.max(axis=0) + 1e-3).all()


@pytest.mark.parametrize("score", [0.0, 0.5])
@pytest.mark.parametrize("box", [(3.0, 4.0, 30.0, 50.0), (3.0, 4.0, 3.0, 4.0)])
def test_a_box_without_other_votes_stays_where_it_is(box: BoxTuple, score: float) -> None:
    far, one = (100.0, 100.0, 120.0, 120.0), np.ones(1, np.int64)
    boxes, scores = as_array([box, far]), np.array([score, 1], np.float32)
    moved = vote_boxes(boxes[:1], boxes, scores, kept_ids=one, class_ids=np.ones(2, np.int64))
    np.testing.assert_allclose(moved, boxes[:1], rtol=1e-6)


def test_a_vote_enters_without_a_jump() -> None:
    kept, one = as_array([(0, 0, 100, 100)]), np.ones(1, np.int64)
    rights = np.linspace(40, 60, 81)
    moved = [
        vote_boxes(
            kept,
            as_array([(0, 0, 100, 100), (0, 0, right, 100)]),
            np.ones(2, np.float32),
            kept_ids=one,
            class_ids=one.repeat(2),
        )
        for right in rights
    ]
    edge = np.array([one_box[0, 2] for one_box in moved])
    assert (edge[rights <= 50] == 100).all()
    assert edge[-1] < 99
    assert np.abs(np.diff(edge)).max() < 0.2
