"""Layers that compute in float32 below autocast."""

import copy

import torch

from mmpnet.train.engine.mixed_precision import Float32Conv2d, keep_strided_depthwise_in_float32
from mmpnet.train.model import MmpNet


def test_the_four_strided_depthwise_layers_are_replaced_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    network = MmpNet(2, 2, width_mult=0.25, channels=8)
    before = copy.deepcopy(network)
    parameters = [id(parameter) for parameter in network.parameters()]
    assert keep_strided_depthwise_in_float32(network) == 4
    assert keep_strided_depthwise_in_float32(network) == 0, "a second call finds nothing left to replace"
    replaced = [module for module in network.modules() if isinstance(module, Float32Conv2d)]
    assert all(conv.stride == (2, 2) and conv.groups == conv.in_channels for conv in replaced)
    assert [id(parameter) for parameter in network.parameters()] == parameters, "an optimizer still has its weights"
    assert list(network.state_dict()) == list(before.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network.eval()(images), before.eval()(images))


def test_they_compute_in_float32_below_autocast() -> None:
    conv = MmpNet(1, 1, width_mult=0.25, channels=8)
    keep_strided_depthwise_in_float32(conv)
    layer = next(module for module in conv.modules() if isinstance(module, Float32Conv2d))
    images = torch.randn(1, layer.in_channels, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(images)
    assert output.dtype is torch.float32
    expected = torch.nn.functional.conv2d(images.float(), layer.weight, stride=2, padding=1, groups=layer.in_channels)
    assert torch.equal(output, expected)
