"""Losses are compared with their formulas, and are finite for a batch without people."""

import math

import numpy as np
import pytest
import torch

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.boxes import decode_offsets as decode_numpy
from mmpnet.contract.boxes import encode_offsets, pairwise_iou
from mmpnet.train.assignment import UNDECIDED_LABEL, LabelGrid
from mmpnet.train.box_coder import decode_offsets
from mmpnet.train.box_coder import encode_offsets as encode_torch
from mmpnet.train.choices import BoxLoss, Negatives
from mmpnet.train.losses import (
    FOCAL_ALPHA,
    DetectionLoss,
    box_loss,
    focal_loss,
    quality_focal_loss,
    soft_cross_entropy,
)

ANCHORS = AnchorSpec(sizes_px=(16.0, 32.0), aspect_ratios=(1.0,), stride=8)
INPUT_HW = (32, 32)


def test_torch_decode_is_the_contracts_decode() -> None:
    random = np.random.default_rng(0)
    offsets = random.normal(0, 8, (500, 4)).astype(np.float32)
    anchors = np.tile(ANCHORS.boxes_xyxy(INPUT_HW), (20, 1))[:500]
    ours = decode_offsets(torch.from_numpy(offsets), torch.from_numpy(anchors)).numpy()
    np.testing.assert_allclose(ours, decode_numpy(offsets, anchors), rtol=1e-5, atol=1e-3)


def test_focal_loss_is_its_formula() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    for row, label in ((0, 0), (0, 1), (1, 0), (1, 1)):
        p = math.exp(logits[row, label]) / sum(math.exp(v) for v in logits[row].tolist())
        alpha = FOCAL_ALPHA if label else 1 - FOCAL_ALPHA
        actual = focal_loss(logits[row][None], torch.tensor([label]), torch.ones(label))
        assert float(actual) == pytest.approx(-alpha * (1 - p) ** 2 * math.log(p), rel=1e-5)


def log_probabilities(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


@pytest.mark.parametrize("wanted", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_soft_and_quality_losses_are_their_formulas(label: int, wanted: float) -> None:
    values = [0.4, -1.0, 2.0]
    log_p = log_probabilities(values)
    if label:
        cross_entropy = -(wanted * log_p[label] + (1 - wanted) * log_p[0])
        distance = wanted - math.exp(log_p[label])
    else:
        cross_entropy, distance = -log_p[0], 1 - math.exp(log_p[0])
    arguments = torch.tensor([values]), torch.tensor([label]), torch.full((1 if label else 0,), wanted)
    assert float(soft_cross_entropy(*arguments)) == pytest.approx(cross_entropy, rel=1e-5)
    assert float(quality_focal_loss(*arguments)) == pytest.approx(distance**2 * cross_entropy, rel=1e-5)


def test_a_half_sure_label_pulls_the_score_to_one_half() -> None:
    """The loss is least where the score equals the confidence of the label, not where it is 1."""
    for loss in (soft_cross_entropy, quality_focal_loss):
        costs = []
        for score in np.linspace(0.05, 0.95, 19):
            logits = torch.tensor([[0.0, math.log(score / (1 - score))]])
            costs.append(float(loss(logits, torch.tensor([1]), torch.tensor([0.5]))))
        assert int(np.argmin(costs)) == 9


def test_torch_encode_is_the_contracts_encode() -> None:
    random = np.random.default_rng(0)
    anchors = np.tile(ANCHORS.boxes_xyxy(INPUT_HW), (20, 1))[:300]
    corner = random.uniform(-20, 20, (300, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 60, (300, 2))], axis=1).astype(np.float32)
    ours = encode_torch(torch.from_numpy(boxes), torch.from_numpy(anchors)).numpy()
    np.testing.assert_allclose(ours, encode_offsets(boxes, anchors), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["giou", "ciou", "smooth-l1"])
def test_box_losses_vanish_on_the_label_and_grow_away_from_it(kind: BoxLoss) -> None:
    anchors = torch.tensor([[0.0, 0, 20, 40]]).repeat(4, 1)
    label = torch.tensor([[4.0, 2, 22, 38]]).repeat(4, 1)
    boxes = label + torch.tensor([[0.0], [2], [6], [14]])
    costs = box_loss(kind, boxes, encode_torch(boxes, anchors), label, anchors)
    assert float(costs[0]) == pytest.approx(0, abs=1e-5)
    assert (costs.diff() > 0).all()


def test_giou_and_ciou_are_their_formulas() -> None:
    a, b = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[4.0, 5, 16, 21]])
    iou = float(pairwise_iou(a.numpy(), b.numpy())[0, 0])
    union, hull = 10 * 20 + 12 * 16 - 6 * 15, 16 * 21
    anchors = offsets = torch.zeros(1, 4)
    assert float(box_loss("giou", a, offsets, b, anchors)) == pytest.approx(1 - iou + (hull - union) / hull, rel=1e-4)
    distance = ((5 - 10) ** 2 + (10 - 13) ** 2) / (16**2 + 21**2)
    shape = 4 / math.pi**2 * (math.atan(12 / 16) - math.atan(10 / 20)) ** 2
    expected = 1 - iou + distance + shape * shape / (1 - iou + shape)
    assert float(box_loss("ciou", a, offsets, b, anchors)) == pytest.approx(expected, rel=1e-3)


def make_target() -> tuple[LabelGrid, torch.Tensor]:
    """Two images with three positives, and the output that is exactly right for them."""
    labels = torch.zeros(2, 2, 1, 4, 4, dtype=torch.long)
    places = [(0, 0, 0, 1, 2), (1, 0, 0, 3, 3), (1, 1, 0, 0, 0)]
    boxes = torch.tensor([[10.0, 2.0, 30.0, 20.0], [16.0, 16.0, 32.0, 32.0], [0.0, 0.0, 20.0, 28.0]])
    output = torch.zeros(2, 6, 2, 1, 4, 4)
    output[:, 0] = 20.0
    anchors = ANCHORS.boxes_xyxy(INPUT_HW).reshape(2, 1, 4, 4, 4)
    for (b, s, r, row, col), box in zip(places, boxes, strict=True):
        labels[b, s, r, row, col] = 1
        output[b, :2, s, r, row, col] = torch.tensor([-20.0, 20.0])
        offsets = encode_offsets(box[None].numpy(), anchors[s, r, row, col][None])
        output[b, 2:, s, r, row, col] = torch.from_numpy(offsets[0])
    return LabelGrid(labels=labels, boxes_xyxy=boxes, scores=torch.ones(3)), output


@pytest.mark.parametrize("negatives", ["focal", "quality", "hard", "random"])
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does(negatives: Negatives) -> None:
    target, output = make_target()
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    loss = DetectionLoss(negatives=negatives)
    perfect = loss(output, target, anchors)
    assert float(perfect.total) == pytest.approx(0, abs=1e-4)
    wrong_class = loss(output.index_copy(1, torch.tensor([0, 1]), output[:, [1, 0]]), target, anchors)
    assert float(wrong_class.classification) > 1
    shifted = output.clone()
    shifted[:, 2] += 3
    assert float(loss(shifted, target, anchors).box) > 0.1


@pytest.mark.parametrize("negatives", ["focal", "quality", "hard", "random"])
def test_a_batch_without_people_trains_without_nan(negatives: Negatives) -> None:
    output = torch.randn(2, 6, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.zeros(2, 2, 1, 4, 4, dtype=torch.long)
    target = LabelGrid(labels=labels, boxes_xyxy=torch.zeros(0, 4), scores=torch.zeros(0))
    parts = DetectionLoss(negatives=negatives)(output, target, torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW)))
    parts.total.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(float(parts.total.detach()))
    assert float(parts.classification.detach()) > 0
    assert float(parts.box.detach()) == 0
    assert output.grad is not None
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("negatives", ["focal", "quality", "hard", "random"])
def test_undecided_anchors_say_nothing(negatives: Negatives) -> None:
    """Their loss does not count, however wrong they are, and mining takes other anchors."""
    target, output = make_target()
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    noise = torch.rand(2, 32, generator=torch.Generator().manual_seed(0))
    noise.view(2, 2, 1, 4, 4)[0, 1, 0, 2, 2] = 1.0  # the first that `random` would draw
    wrong = output.clone()
    wrong[0, :2, 1, 0, 2, 2] = torch.tensor([-20.0, 20.0])
    loss = DetectionLoss(negatives=negatives, neg_ratio=3.0)
    assert float(loss(wrong, target, anchors, noise=noise).classification) > 1
    target.labels[0, 1, 0, 2, 2] = UNDECIDED_LABEL
    assert float(loss(wrong, target, anchors, noise=noise).classification) == pytest.approx(0, abs=1e-4)
    undecided = torch.zeros_like(output, requires_grad=True)
    parts = loss(undecided, target, anchors, noise=noise)
    parts.total.backward()  # type: ignore[no-untyped-call]
    assert undecided.grad is not None
    assert (undecided.grad[0, :, 1, 0, 2, 2] == 0).all()
    if negatives == "hard":
        assert float(parts.classification.detach()) == pytest.approx((3 + 9) * math.log(2) / 3, rel=1e-5)


def test_mining_gives_gradients_to_the_chosen_anchors_only() -> None:
    target, output = make_target()
    output[:, 0], output[:, 1] = 0.0, 0.0  # every anchor is undecided: cross-entropy log 2
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    parts = DetectionLoss(negatives="hard", neg_ratio=3.0)(output, target, anchors)
    positives, negatives = 3, 9
    assert float(parts.classification) == pytest.approx((positives + negatives) * math.log(2) / positives, rel=1e-5)


def test_quality_asks_a_score_no_better_than_the_box() -> None:
    """Boxes that miss their labels should get lower scores than boxes that fit."""
    target, output = make_target()
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    loss = DetectionLoss(negatives="quality")
    assert float(loss(output, target, anchors).classification) == pytest.approx(0, abs=1e-4)
    output[:, 2] += 8
    assert float(loss(output, target, anchors).classification) > 0.5, "sure of boxes that are off"


def test_a_doubtful_label_weighs_its_confidence_in_the_box_loss() -> None:
    target, output = make_target()
    output[:, 2] += 3
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    one = torch.ones(())
    sure = DetectionLoss()(output, target, anchors, normalizer=one)
    doubtful = LabelGrid(labels=target.labels, boxes_xyxy=target.boxes_xyxy, scores=torch.full((3,), 0.25))
    assert float(DetectionLoss()(output, doubtful, anchors, normalizer=one).box) == pytest.approx(float(sure.box) / 4)
