"""Layers that stay in float32 on a CPU, because bfloat16 is slower there."""

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32, also below autocast."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def keep_strided_depthwise_in_float32(network: nn.Module) -> int:
    """Replace each depthwise convolution with a stride by one that computes in float32; return how many.

    On a CPU the backward pass of these layers takes 5 to 16 times as long in bfloat16 as in float32
    (benchmarks/training.py). Weights, their names and the state dict stay the same.
    """
    replaced = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and child.groups == child.in_channels > 1 and child.stride != (1, 1):
                conv = Float32Conv2d(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size,  # type: ignore[arg-type]
                    stride=child.stride,  # type: ignore[arg-type]
                    padding=child.padding,  # type: ignore[arg-type]
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                conv.weight, conv.bias = child.weight, child.bias
                conv.train(child.training)
                setattr(parent, name, conv)
                replaced += 1
    return replaced
