"""Shapes of the network to compare: other channel counts, strides, widths, input sizes and first blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.model import Architecture, MmpNet

FRONT_BLOCKS = 5
"""The stem and the blocks up to the first of stride 8: their maps are large and take half of the int8 time."""


@dataclass(frozen=True, slots=True)
class Front:
    """Channels of the stem, and hidden channels of block 2 and of blocks 3 and 4 (MobileNetV2: 32, 96, 144)."""

    stem: int
    hidden_2: int
    hidden_34: int


@dataclass(frozen=True, slots=True)
class ShapeCandidate:
    """One shape: its name, how to build it, and the input's side."""

    name: str
    build: Callable[[], MmpNet]
    side_px: int = 320
    front: Front | None = None


def _network(**options: int | float | Architecture) -> MmpNet:
    return MmpNet(len(RECIPE.model.sizes_px), len(RECIPE.model.aspect_ratios), **options)  # type: ignore[arg-type]


def _with_towers(channels: int, kernel_size: int) -> MmpNet:
    """As the shipped model has them: separate towers of depth 2."""
    architecture = Architecture(separate_towers=True, tower_depth=2, kernel_size=kernel_size)
    return _network(channels=channels, architecture=architecture)


def with_front(network: MmpNet, front: Front, *, early_stride: bool = False) -> MmpNet:
    """Replace the first five blocks by narrower ones; early_stride halves the map one block earlier."""
    features = network.features
    features[0] = Conv2dNormActivation(3, front.stem, stride=2, activation_layer=nn.ReLU6)
    features[1] = InvertedResidual(front.stem, 16, 2 if early_stride else 1, expand_ratio=1)
    features[2] = _block(16, 24, front.hidden_2, 1 if early_stride else 2)
    features[3] = _block(24, 24, front.hidden_34, 1)
    features[4] = _block(24, 32, front.hidden_34, 2)
    return network


def _block(inputs: int, outputs: int, hidden: int, stride: int) -> InvertedResidual:
    """torchvision's block with any number of hidden channels, not only multiples of its inputs."""
    block = InvertedResidual(inputs, outputs, stride, expand_ratio=6)
    block.conv = nn.Sequential(
        Conv2dNormActivation(inputs, hidden, kernel_size=1, activation_layer=nn.ReLU6),
        Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, activation_layer=nn.ReLU6),
        nn.Conv2d(hidden, outputs, kernel_size=1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return block


def with_relu(network: MmpNet) -> MmpNet:
    """ReLU in place of ReLU6."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU(inplace=True))
    return network


SLIM, SLIMMER = Front(16, 64, 96), Front(16, 48, 96)
CANDIDATES = (
    ShapeCandidate("default", _network),
    ShapeCandidate("ReLU", lambda: with_relu(_network())),
    ShapeCandidate("64 channels", lambda: _network(channels=64)),
    ShapeCandidate("128 channels", lambda: _network(channels=128)),
    ShapeCandidate("separate towers of depth 2", lambda: _with_towers(96, 3)),
    ShapeCandidate("these with 128 channels", lambda: _with_towers(128, 3)),
    ShapeCandidate("these with 160 channels", lambda: _with_towers(160, 3)),
    ShapeCandidate("these with 5x5 kernels", lambda: _with_towers(96, 5)),
    ShapeCandidate("these with 128 channels and 5x5 kernels", lambda: _with_towers(128, 5)),
    ShapeCandidate("grid at stride 16", lambda: _network(stride=16)),
    ShapeCandidate("stem 16", lambda: with_front(_network(), Front(16, 96, 144))),
    ShapeCandidate("front 32-64-96", lambda: with_front(_network(), Front(32, 64, 96))),
    ShapeCandidate("front 16-64-96", lambda: with_front(_network(), SLIM), front=SLIM),
    ShapeCandidate("front 16-48-96", lambda: with_front(_network(), SLIMMER), front=SLIMMER),
    ShapeCandidate("stride in block 1", lambda: with_front(_network(), Front(32, 96, 144), early_stride=True)),
    ShapeCandidate("width 0.75", lambda: _network(width_mult=0.75)),
    ShapeCandidate("width 0.5", lambda: _network(width_mult=0.5)),
    ShapeCandidate("input 288", _network, side_px=288),
    ShapeCandidate("input 256", _network, side_px=256),
    ShapeCandidate("input 224", _network, side_px=224),
)


def candidates_by_name(names: Sequence[str] | None) -> dict[str, ShapeCandidate]:
    """The named candidates in this order; all for None.

    Raises: ValueError for a name that is not in CANDIDATES.
    """
    known = {candidate.name: candidate for candidate in CANDIDATES}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"--shape {unknown[0]!r}: known are {', '.join(known)}")
    return {name: known[name] for name in names or known}
