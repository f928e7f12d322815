"""MmpNet's shapes, the order of its channels, and its backbone weights."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.train.model import Architecture, MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import CandidateNet


@pytest.mark.parametrize(("stride", "rows", "cols"), [(8, 8, 12), (16, 4, 6)])
def test_output_is_a_label_grid_of_logits_and_offsets(stride: int, rows: int, cols: int) -> None:
    network = MmpNet(2, 3, num_classes=3, stride=stride, width_mult=0.25, channels=8).eval()
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 3 + 4, 2, 3, rows, cols)


def test_exercise_network_has_logits_only() -> None:
    network = MmpNet(2, 3, box_regression=False).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 2, 3, 8, 8)


@pytest.mark.parametrize("input_hw", [(40, 56), (72, 104), (200, 312)])
def test_any_multiple_of_the_stride_is_an_input(input_hw: tuple[int, int]) -> None:
    network = MmpNet(1, 1, width_mult=0.25, channels=8).eval()
    assert network(torch.zeros(1, 3, *input_hw)).shape[-2:] == (input_hw[0] // 8, input_hw[1] // 8)


def test_each_raw_channel_lands_where_the_flat_anchor_order_says() -> None:
    """The course code's reshape mixed columns into boxes; here a one-hot probe goes through the real forward pass."""
    sizes, ratios, rows, cols, channels = 2, 3, 3, 4, 6
    network = MmpNet(sizes, ratios, width_mult=0.25, channels=8).eval()
    for c, s, r, row, col in product(range(channels), range(sizes), range(ratios), range(rows), range(cols)):
        raw_channel = np.ravel_multi_index((c, s, r), (channels, sizes, ratios))
        network.predict = _Probe(int(raw_channel), row, col, channels * sizes * ratios)  # type: ignore[assignment]
        output = network(torch.zeros(1, 3, rows * 8, cols * 8))
        assert output.nonzero().tolist() == [[0, c, s, r, row, col]]
        flat = int(output.flatten(2)[0, c].argmax())
        assert flat == np.ravel_multi_index((s, r, row, col), (sizes, ratios, rows, cols))


def test_a_positive_anchor_is_decoded_at_its_own_place() -> None:
    anchors = AnchorSpec(sizes_px=(16.0, 40.0), aspect_ratios=(0.5, 1.0, 2.0), stride=8)
    network = MmpNet(2, 3, width_mult=0.25, channels=8).eval()
    boxes = anchors.boxes_xyxy((24, 32))
    for s, r, row, col in [(0, 0, 0, 0), (1, 2, 2, 3), (1, 0, 1, 2), (0, 1, 2, 1)]:
        person = int(np.ravel_multi_index((1, s, r), (6, 2, 3)))
        network.predict = _Probe(person, row, col, 36)  # type: ignore[assignment]
        network.predict.out_channels = 36
        candidates = CandidateNet(network, anchors, (24, 32), top_k=1)
        box, _, class_id = candidates(torch.zeros(1, 24, 32, 3, dtype=torch.uint8))
        flat = np.ravel_multi_index((s, r, row, col), (2, 3, 3, 4))
        np.testing.assert_allclose(box[0, 0].numpy(), boxes[flat], atol=1e-5)
        assert class_id.tolist() == [[1]]


@pytest.mark.parametrize(
    ("arguments", "options"), [((0, 3), {}), ((2, 0), {}), ((2, 3), {"num_classes": 1}), ((2, 3), {"stride": 4})]
)
def test_impossible_shapes_are_refused(arguments: tuple[int, int], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="got"):
        MmpNet(*arguments, **options)  # type: ignore[arg-type]


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    torch.manual_seed(0)
    network = MmpNet(1, 1, width_mult=0.25, channels=8)
    enter_training_mode(network, freeze=4)
    before = {name: tensor.clone() for name, tensor in network.features[:4].state_dict().items()}
    moving = network.features[5].state_dict()["conv.0.1.running_mean"].clone()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    for name, tensor in network.features[:4].state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not torch.equal(network.features[5].state_dict()["conv.0.1.running_mean"], moving)


def test_separate_towers_keep_logits_and_offsets_apart() -> None:
    torch.manual_seed(0)
    network = MmpNet(
        2, 3, num_classes=3, width_mult=0.25, channels=8, architecture=Architecture(separate_towers=True)
    ).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(images)
        assert before.shape == (1, 3 + 4, 2, 3, 8, 8)
        assert network.box_tower is not None
        next(network.box_tower.parameters()).normal_()
        after = network(images)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_deeper_towers_have_more_layers_of_the_same_shape() -> None:
    one = MmpNet(2, 3, width_mult=0.25, channels=8, architecture=Architecture(separate_towers=True))
    three = MmpNet(2, 3, width_mult=0.25, channels=8, architecture=Architecture(separate_towers=True, tower_depth=3))
    assert three.box_tower is not None
    assert one.box_tower is not None
    for deep, shallow in ((three.tower, one.tower), (three.box_tower, one.box_tower)):
        kinds = [type(layer) for layer in shallow]
        assert [type(layer) for layer in deep] == kinds * 3
    assert three(torch.randn(2, 3, 64, 64)).shape == (2, 2 + 4, 2, 3, 8, 8)
    with pytest.raises(ValueError, match="1 tower layer"):
        Architecture(tower_depth=0)


def test_frozen_norms_keep_the_backbones_statistics_but_not_its_weights() -> None:
    torch.manual_seed(0)
    network = MmpNet(1, 1, width_mult=0.25, channels=8)
    enter_training_mode(network, freeze=0, freeze_norms=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    after = network.state_dict()
    for name, tensor in after.items():
        if "running" in name:
            assert torch.equal(tensor, before[name]) == name.startswith("features."), name
    assert not torch.equal(after["features.0.0.weight"], before["features.0.0.weight"])


class _Probe(nn.Module):
    """Stands in for the last convolution: one raw output is 1, at one cell of one channel."""

    def __init__(self, channel: int, row: int, col: int, channels: int) -> None:
        super().__init__()
        self._place = (channel, row, col)
        self._channels = channels
        self.out_channels = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raw = torch.zeros(len(features), self._channels, *features.shape[-2:])
        raw[(slice(None), *self._place)] = 1
        return raw
