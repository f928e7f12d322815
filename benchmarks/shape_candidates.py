"""Shapes of the network that were weighed against each other: other channels, strides, widths, inputs and fronts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.model import MmpNet

FRONT_BLOCKS = 5
"""The stem and the blocks up to stride 8's first: where the maps are large and half of the int8 time goes."""


@dataclass(frozen=True, slots=True)
class Front:
    """Channels of the stem, and hidden channels of block 2 and of blocks 3 and 4 (MobileNetV2: 32, 96, 144)."""

    stem: int
    hidden_2: int
    hidden_34: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One shape: its name, how to build it, and the input's side."""

    name: str
    build: Callable[[], MmpNet]
    side_px: int = 320
    front: Front | None = None


def _network(**options: int | float) -> MmpNet:
    return MmpNet(len(RECIPE.sizes_px), len(RECIPE.aspect_ratios), **options)  # type: ignore[arg-type]


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
    Candidate("default", _network),
    Candidate("ReLU", lambda: with_relu(_network())),
    Candidate("64 channels", lambda: _network(channels=64)),
    Candidate("128 channels", lambda: _network(channels=128)),
    Candidate("grid at stride 16", lambda: _network(stride=16)),
    Candidate("stem 16", lambda: with_front(_network(), Front(16, 96, 144))),
    Candidate("front 32-64-96", lambda: with_front(_network(), Front(32, 64, 96))),
    Candidate("front 16-64-96", lambda: with_front(_network(), SLIM), front=SLIM),
    Candidate("front 16-48-96", lambda: with_front(_network(), SLIMMER), front=SLIMMER),
    Candidate("stride in block 1", lambda: with_front(_network(), Front(32, 96, 144), early_stride=True)),
    Candidate("width 0.75", lambda: _network(width_mult=0.75)),
    Candidate("width 0.5", lambda: _network(width_mult=0.5)),
    Candidate("input 288", _network, side_px=288),
    Candidate("input 256", _network, side_px=256),
    Candidate("input 224", _network, side_px=224),
)


def prune_front(wide: nn.Sequential, narrow: nn.Sequential, images: Tensor) -> None:
    """Fill a narrow front from a wide one: of each hidden layer the channels that say most on these images, by mean
    activation times the size of the weights that read it (after Li et al. 2017)."""
    kept = {index: _most_used(wide, index, _hidden(narrow, index), images) for index in range(1, FRONT_BLOCKS)}
    _copy(narrow[0], wide[0], kept[1])
    _copy(narrow[1].conv[0], wide[1].conv[0], kept[1])
    for index in range(2, FRONT_BLOCKS):
        _copy(narrow[index].conv[0], wide[index].conv[0], kept[index])
        _copy(narrow[index].conv[1], wide[index].conv[1], kept[index])
    for index, channels in kept.items():
        projection, norm = narrow[index].conv[-2], narrow[index].conv[-1]
        projection.weight.data.copy_(wide[index].conv[-2].weight[:, channels])
        norm.load_state_dict(wide[index].conv[-1].state_dict())


def _hidden(front: nn.Sequential, index: int) -> int:
    return int(front[index].conv[-2].in_channels)


def _most_used(front: nn.Sequential, index: int, count: int, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    projection = front[index].conv[-2]
    handle = projection.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].abs().mean(dim=(0, 2, 3))))
    with torch.inference_mode():
        front[: index + 1](images)
    handle.remove()
    use = seen[0] * projection.weight.detach().abs().sum(dim=(0, 2, 3))
    return use.topk(count).indices.sort().values


def _copy(narrow: nn.Sequential, wide: nn.Sequential, channels: Tensor) -> None:
    """Output channels of a convolution (of full or depthwise input) and its norm."""
    narrow[0].weight.data.copy_(wide[0].weight[channels])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(narrow[1], name).data.copy_(getattr(wide[1], name)[channels])
