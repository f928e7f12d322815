"""The exercise's step."""

import pytest
import torch
from torch import nn

from mmpnet.contract.errors import TrainingError
from mmpnet.train.model import MmpNet
from mmpnet.train.step import step, update


@pytest.fixture
def exercise() -> tuple[MmpNet, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = MmpNet(2, 3, box_regression=False, width_mult=0.25, channels=8)
    images = torch.randn(4, 3, 64, 64)
    labels = (torch.rand(4, 2, 3, 8, 8) < 0.1).long()
    return network, images, labels


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("neg_ratio", [None, 2.0])
def test_step_lowers_the_loss(
    exercise: tuple[MmpNet, torch.Tensor, torch.Tensor], reduction: str, neg_ratio: float | None
) -> None:
    network, images, labels = exercise
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4 if reduction == "sum" else 0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss(reduction=reduction)
    losses = [step(network, criterion, optimizer, images, labels, neg_ratio=neg_ratio) for _ in range(8)]
    assert all(isinstance(loss, float) for loss in losses)
    assert losses[-1] < losses[0]


def test_box_channels_are_no_classes() -> None:
    torch.manual_seed(0)
    network = MmpNet(1, 1, width_mult=0.25, channels=8)
    before = network.predict.weight.detach().clone()
    labels = torch.ones(2, 1, 1, 8, 8, dtype=torch.long)
    step(
        network, nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=1.0), torch.randn(2, 3, 64, 64), labels
    )
    moved = (network.predict.weight.detach() - before).flatten(1).abs().sum(dim=1)
    assert (moved[:2] > 0).all()
    assert (moved[2:] == 0).all()


def test_float_labels_of_the_exercise_are_taken(exercise: tuple[MmpNet, torch.Tensor, torch.Tensor]) -> None:
    network, images, labels = exercise
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    assert step(network, nn.CrossEntropyLoss(), optimizer, images, labels.float()) > 0


def test_non_finite_loss_stops_and_leaves_the_weights() -> None:
    layer = nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(TrainingError, match="training stopped"):
            update(optimizer, layer(torch.ones(1, 2)).sum() * bad)
    with pytest.raises(TrainingError, match="gradient"):
        update(optimizer, (layer.weight * 0).sqrt().sum() * 0 + layer.weight.sum() * 0, max_grad_norm=1.0)
    torch.testing.assert_close(layer.weight.detach(), before)


def test_long_gradients_are_shortened() -> None:
    layer = nn.Linear(3, 1, bias=False)
    before = layer.weight.detach().clone()
    update(torch.optim.SGD(layer.parameters(), lr=1.0), layer(torch.full((1, 3), 100.0)).sum(), max_grad_norm=0.5)
    assert float((layer.weight.detach() - before).norm()) == pytest.approx(0.5, rel=1e-4)
