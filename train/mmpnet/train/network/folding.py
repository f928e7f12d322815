"""Fold normalization into the first convolution, and undo it."""

import copy

import torch
from torch import Tensor, nn

from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.letterbox import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from mmpnet.train.model import MmpNet


class Shift(nn.Module):
    """Subtracts the mean: letterboxed pixels of this kind of input -> (B, 3, H, W), channels in the same order.

    A bias of the convolution could not replace it, because the convolution pads with zeros.
    """

    def __init__(self, kind: InputKind) -> None:
        super().__init__()
        self._from_bytes = kind == "uint8-nhwc"
        mean = torch.tensor(IMAGENET_MEAN_RGB)
        self.register_buffer("mean", (mean.flip(0) * 255 if self._from_bytes else mean).view(3, 1, 1), persistent=False)
        self.mean: Tensor

    def forward(self, images: Tensor) -> Tensor:
        planes = images.permute(0, 3, 1, 2).to(self.mean.dtype) if self._from_bytes else images
        return planes - self.mean


def folded_kernel(kernel: Tensor, kind: InputKind) -> Tensor:
    """Return the kernel (O, 3, k, k) of the first convolution with deviation, scale and channel order in it, for the
    output of `Shift`."""
    kernel = kernel / _deviation()
    return (kernel / 255).flip(1) if kind == "uint8-nhwc" else kernel


def unfolded_kernel(kernel: Tensor, kind: InputKind) -> Tensor:
    """Return the inverse of `folded_kernel`."""
    kernel = kernel.flip(1) * 255 if kind == "uint8-nhwc" else kernel
    return kernel * _deviation()


@torch.no_grad()
def with_folded_input(network: MmpNet, kind: InputKind) -> MmpNet:
    """Return a copy of the network that gives for the output of `Shift` what the network gives for
    `InputNormalization`."""
    folded = copy.deepcopy(network)
    first = next(module for module in folded.features.modules() if isinstance(module, nn.Conv2d))
    first.weight.copy_(folded_kernel(first.weight, kind))
    return folded


def _deviation() -> Tensor:
    return torch.tensor(IMAGENET_STD_RGB).view(1, 3, 1, 1)
