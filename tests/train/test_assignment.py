"""The assignment of anchors to boxes is compared with slow, obvious references."""

import numpy as np
import pytest

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.train.assignment import BACKGROUND, UNDECIDED, assign_adaptively, assign_by_iou

ANCHORS = AnchorSpec(sizes_px=(12.0, 24.0, 48.0, 96.0), aspect_ratios=(1.0, 2.0), stride=8)
INPUT_HW = (160, 192)


def random_boxes(seed: int, count: int) -> FloatArray:
    random = np.random.default_rng(seed)
    center = random.uniform((5, 5), (187, 155), (count, 2))
    half = 2 ** random.uniform(1.5, 6.5, (count, 2))  # sides of 6 to 180 px
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_iou_rule_agrees_with_a_loop(seed: int) -> None:
    boxes, anchors = random_boxes(seed, 5), ANCHORS.boxes_xyxy(INPUT_HW)
    iou = pairwise_iou(anchors, boxes)
    expected = [int(row.argmax()) if row.max() >= 0.5 else -1 for row in iou]
    for box in sorted(range(5), key=lambda b: iou[:, b].max()):
        expected[int(iou[:, box].argmax())] = box
    assert assign_by_iou(boxes, anchors).tolist() == expected


def adaptively(boxes: FloatArray, *, as_published: bool = False) -> IntArray:
    return assign_adaptively(
        boxes,
        ANCHORS.boxes_xyxy(INPUT_HW),
        grid_shape=ANCHORS.grid_shape(INPUT_HW),
        stride=8,
        as_published=as_published,
    )


def reference_adaptive(boxes: FloatArray, *, as_published: bool) -> list[int]:
    """ATSS as in its paper, one box and one anchor at a time. Otherwise, for a box of n times 64 px, the anchors of n
    times as many cells are candidates, and those of n^2 times as many cells that fit nearly as well are undecided."""
    anchors = ANCHORS.boxes_xyxy(INPUT_HW)
    cells = len(anchors) // 8
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    claims: list[tuple[float, int, int]] = []
    best: list[tuple[float, int, int]] = []
    undecided: set[int] = set()
    for number, box in enumerate(boxes):
        distance = np.linalg.norm(centers - (box[:2] + box[2:]) / 2, axis=1)
        side = 1.0 if as_published else max(float(np.prod(box[2:] - box[:2])) ** 0.5 / 64, 1.0)
        near: list[int] = []
        around: list[int] = []
        for kind in range(8):
            own = sorted(range(kind * cells, (kind + 1) * cells), key=lambda a: distance[a])
            near += own[: round(9 * side)]
            around += own[: round(9 * side**2)]
        iou = {a: float(pairwise_iou(box[None], anchors[a][None])[0, 0]) for a in around}
        top = sorted(near, key=lambda a: -iou[a])[: 3 * round(9 * side)]
        values = np.array([iou[a] for a in top], np.float32)
        threshold = values.mean() + values.std()
        for a in top:
            if iou[a] >= threshold and (centers[a] > box[:2]).all() and (centers[a] < box[2:]).all():
                claims.append((iou[a], number, a))
        best.append((iou[top[0]], number, top[0]))
        undecided |= set() if as_published else {a for a in around if iou[a] >= 0.7 * threshold}
    matched = [UNDECIDED if a in undecided else BACKGROUND for a in range(len(anchors))]
    for _, number, a in sorted(claims) + sorted(best):
        matched[a] = number
    return matched


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("as_published", [False, True])
def test_adaptive_rule_agrees_with_a_loop(seed: int, as_published: bool) -> None:
    boxes = random_boxes(seed, 4)
    expected = reference_adaptive(boxes, as_published=as_published)
    assert adaptively(boxes, as_published=as_published).tolist() == expected
    assert (UNDECIDED in expected) == (not as_published)


@pytest.mark.parametrize("seed", range(5))
def test_every_box_has_an_anchor_unless_a_better_match_takes_it(seed: int) -> None:
    for box in random_boxes(seed, 8):
        one = box[None]
        assert (adaptively(one) == 0).any()
        assert (assign_by_iou(one, ANCHORS.boxes_xyxy(INPUT_HW)) == 0).any()


def test_a_box_smaller_than_a_cell_still_has_its_best_anchor() -> None:
    speck = np.array([[33.0, 33.0, 35.0, 35.0]], np.float32)
    matched = adaptively(speck)
    iou = pairwise_iou(ANCHORS.boxes_xyxy(INPUT_HW), speck)[:, 0]
    assert matched.max() == 0
    assert iou[matched == 0].max() == iou.max()


def test_no_boxes_means_all_background() -> None:
    none = np.zeros((0, 4), np.float32)
    assert (adaptively(none) == BACKGROUND).all()
    assert (assign_by_iou(none, ANCHORS.boxes_xyxy(INPUT_HW)) == BACKGROUND).all()


def test_the_larger_the_box_the_more_anchors_learn_it_or_are_left_alone() -> None:
    """On one grid, the anchors beside a large box fit it as well as the anchors of a small box fit that one."""
    anchors = AnchorSpec(sizes_px=(12.0, 24.0, 48.0, 96.0), aspect_ratios=(1.0, 2.0), stride=4)
    anchors_xyxy, grid_shape = anchors.boxes_xyxy(INPUT_HW), anchors.grid_shape(INPUT_HW)
    boxes = [np.array([[97 - half, 79 - half, 97 + half, 79 + half]], np.float32) for half in (12, 46)]
    matched = [assign_adaptively(box, anchors_xyxy, grid_shape=grid_shape, stride=4) for box in boxes]
    positives = [int((one == 0).sum()) for one in matched]
    undecided = [int((one == UNDECIDED).sum()) for one in matched]
    assert 0 < 2 * positives[0] < positives[1]
    assert 2 * undecided[0] < undecided[1]
    iou = pairwise_iou(anchors_xyxy, boxes[1])[:, 0]
    assert iou[matched[1] == UNDECIDED].min() > 0.4, "what hardly fits is background"
    assert iou[matched[1] == 0].max() == iou.max()


def test_what_is_nearly_one_boxs_anchor_may_be_anothers() -> None:
    """An anchor that is undecided for one box, but the best one for another box, learns the other box."""
    boxes = np.array([[40, 40, 88, 88], [48, 40, 96, 88]], np.float32)
    matched = adaptively(boxes)
    for number, box in enumerate(boxes):
        iou = pairwise_iou(ANCHORS.boxes_xyxy(INPUT_HW), box[None])[:, 0]
        assert matched[int(iou.argmax())] == number
