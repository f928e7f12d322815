"""Losses against their formulas, and in the corner where a batch has nobody in it."""

import math

import numpy as np
import pytest
import torch

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.boxes import decode_offsets as decode_numpy
from mmpnet.contract.boxes import encode_offsets
from mmpnet.train.candidates import decode_offsets
from mmpnet.train.losses import FOCAL_ALPHA, DetectionLoss, Negatives, focal_loss
from mmpnet.train.targets import LabelGrid

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
        actual = focal_loss(logits[row][None], torch.tensor([label]))
        assert float(actual) == pytest.approx(-alpha * (1 - p) ** 2 * math.log(p), rel=1e-5)


def make_target() -> tuple[LabelGrid, torch.Tensor]:
    """Two pictures, three positives; and the output that says it all perfectly."""
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
    return LabelGrid(labels=labels, boxes_xyxy=boxes), output


@pytest.mark.parametrize("negatives", ["focal", "hard", "random"])
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


@pytest.mark.parametrize("negatives", ["focal", "hard", "random"])
def test_a_batch_without_people_trains_without_nan(negatives: Negatives) -> None:
    output = torch.randn(2, 6, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = LabelGrid(labels=torch.zeros(2, 2, 1, 4, 4, dtype=torch.long), boxes_xyxy=torch.zeros(0, 4))
    parts = DetectionLoss(negatives=negatives)(output, target, torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW)))
    parts.total.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(float(parts.total.detach()))
    assert float(parts.classification.detach()) > 0
    assert float(parts.box.detach()) == 0
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_mining_lets_only_the_chosen_anchors_speak() -> None:
    target, output = make_target()
    output[:, 0], output[:, 1] = 0.0, 0.0  # every anchor is undecided: cross-entropy log 2
    anchors = torch.from_numpy(ANCHORS.boxes_xyxy(INPUT_HW))
    parts = DetectionLoss(negatives="hard", neg_ratio=3.0)(output, target, anchors)
    positives, negatives = 3, 9
    assert float(parts.classification) == pytest.approx((positives + negatives) * math.log(2) / positives, rel=1e-5)
