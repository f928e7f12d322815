"""Backbones: networks that turn images into feature maps at several strides.

A second backbone is a function here beside `mobilenet_v2_backbone`, its name in `BackboneName` and `BACKBONES`, an
option in `artifacts`, and its weights in `network.weights`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from torch import nn
from torchvision.models import mobilenet_v2

from mmpnet.train.choices import BACKBONE_BLOCKS

BackboneName: TypeAlias = Literal["mobilenet_v2"]

_MOBILENET_V2_TAPS = {8: 6, 16: 13, 32: 17}
"""Index of the last MobileNetV2 block of each stride."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A map that the block of this index gives: its stride in px, and its number of channels."""

    block: int
    stride: int
    channels: int


@dataclass(frozen=True, slots=True)
class Backbone:
    """Blocks, each of which gets what the one before it gives, and the maps to take from them, finest first."""

    blocks: nn.Sequential
    maps: tuple[FeatureMap, ...]


def mobilenet_v2_backbone(width_mult: float) -> Backbone:
    """MobileNetV2 (Sandler et al. 2018) with `width_mult` times its channels, without its classifier."""
    # The last 1x1 convolution, to 1280 channels, serves classification only.
    blocks = cast(nn.Sequential, mobilenet_v2(weights=None, width_mult=width_mult).features)[:BACKBONE_BLOCKS]
    maps = (FeatureMap(block, stride, _channels(blocks[block])) for stride, block in _MOBILENET_V2_TAPS.items())
    return Backbone(blocks, tuple(maps))


def _channels(block: nn.Module) -> int:
    """Output channels of a block that ends in a batch norm."""
    return [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1].num_features


BACKBONES: dict[BackboneName, Callable[[float], Backbone]] = {"mobilenet_v2": mobilenet_v2_backbone}
"""For each backbone the function that builds it from a width multiplier, with random weights."""
