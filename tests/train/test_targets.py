"""Which anchor learns which box, against slow obvious references."""

import numpy as np
import pytest

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.train.targets import BEST_CANDIDATES, NEAREST_CELLS, assign_adaptively, assign_by_iou

ANCHORS = AnchorSpec(sizes_px=(12.0, 24.0, 48.0), aspect_ratios=(1.0, 2.0), stride=8)
INPUT_HW = (64, 96)


def random_boxes(seed: int, count: int) -> FloatArray:
    random = np.random.default_rng(seed)
    center = random.uniform((5, 5), (91, 59), (count, 2))
    half = random.uniform(3, 25, (count, 2))
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_iou_rule_agrees_with_a_loop(seed: int) -> None:
    boxes, anchors = random_boxes(seed, 5), ANCHORS.boxes_xyxy(INPUT_HW)
    iou = pairwise_iou(anchors, boxes)
    expected = [int(row.argmax()) if row.max() >= 0.5 else -1 for row in iou]
    for box in sorted(range(5), key=lambda b: iou[:, b].max()):
        expected[int(iou[:, box].argmax())] = box
    assert assign_by_iou(boxes, anchors).tolist() == expected


def adaptively(boxes: FloatArray) -> IntArray:
    return assign_adaptively(boxes, ANCHORS.boxes_xyxy(INPUT_HW), grid_shape=ANCHORS.grid_shape(INPUT_HW))


def reference_adaptive(boxes: FloatArray) -> list[int]:
    """ATSS as its paper tells it, one box and one anchor at a time."""
    anchors = ANCHORS.boxes_xyxy(INPUT_HW)
    cells = len(anchors) // 6
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    claims: list[tuple[float, int, int]] = []
    best: list[tuple[float, int, int]] = []
    for number, box in enumerate(boxes):
        distance = np.linalg.norm(centers - (box[:2] + box[2:]) / 2, axis=1)
        near: list[int] = []
        for kind in range(6):
            own = range(kind * cells, (kind + 1) * cells)
            near += sorted(own, key=lambda a: distance[a])[:NEAREST_CELLS]
        iou = {a: float(pairwise_iou(box[None], anchors[a][None])[0, 0]) for a in near}
        top = sorted(near, key=lambda a: -iou[a])[:BEST_CANDIDATES]
        values = np.array([iou[a] for a in top], np.float32)
        threshold = values.mean() + values.std()
        for a in top:
            if iou[a] >= threshold and (centers[a] > box[:2]).all() and (centers[a] < box[2:]).all():
                claims.append((iou[a], number, a))
        best.append((iou[top[0]], number, top[0]))
    matched = [-1] * len(anchors)
    for _, number, a in sorted(claims) + sorted(best):
        matched[a] = number
    return matched


@pytest.mark.parametrize("seed", range(10))
def test_adaptive_rule_agrees_with_a_loop(seed: int) -> None:
    boxes = random_boxes(seed, 4)
    assert adaptively(boxes).tolist() == reference_adaptive(boxes)


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
    assert (adaptively(none) == -1).all()
    assert (assign_by_iou(none, ANCHORS.boxes_xyxy(INPUT_HW)) == -1).all()
