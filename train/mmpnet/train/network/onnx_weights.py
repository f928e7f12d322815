"""Load weights from a file of mmp-export, for further training.

Export folds every batch norm into the convolution before it. Read again, convolution and norm compute the same in
evaluation mode. For training, the norm also needs the statistics of its input, which need images: see `reopen_norms`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mmpnet.contract.errors import CheckpointError, ContractError, first_line
from mmpnet.contract.metadata import ModelMetadata, metadata_from_properties
from mmpnet.contract.seal import check_seal
from mmpnet.system.files import is_file
from mmpnet.train.backbone import mobilenet_v2_backbone
from mmpnet.train.choices import BACKBONE_BLOCKS
from mmpnet.train.model import Architecture, MmpNet
from mmpnet.train.network.folding import unfolded_kernel
from mmpnet.train.network.head_rows import HeadMeaning

FIRST_KERNEL = "features.0.0.weight"
LAST_KERNEL = f"features.{BACKBONE_BLOCKS - 1}.conv.2.weight"
LAST_CHANNELS = 320
"""Output channels of the last block at width 1, before they are rounded (Sandler et al. 2018, table 2)."""
WIDTHS_TRIED = 10
SMALLEST_DEVIATION = 1e-3
"""A channel that varies less than this is constant: dividing by its deviation would make its weights very large."""


def read_onnx_weights(path: Path, network: MmpNet) -> dict[str, Tensor]:
    """Return the weights of the file under the names that `network` has for them, with batch norms that change nothing.

    A file without separate towers gives a network that has them all weights except those of the second tower.

    Raises: CheckpointError if the file is missing, not float32 of mmp-export, or of another architecture.
    """
    weights = _named_weights(*_read(path))
    state: dict[str, Tensor] = {}
    for conv, norm in _convolutions(network):
        weight, bias = weights.pop(f"{conv}.weight", None), weights.pop(f"{conv}.bias", None)
        if weight is None or bias is None:
            if network.box_tower is not None and conv.startswith(("box_tower", "predict_offsets")):
                continue
            raise CheckpointError(
                f"{path}: a file of another architecture (has no {conv}); give the --stride, "
                "--separate-towers and --tower-depth that it was trained with"
            )
        state[f"{conv}.weight"] = weight
        if norm is None:
            state[f"{conv}.bias"] = bias
            continue
        eps = network.get_submodule(norm).eps
        assert isinstance(eps, float)
        state |= {
            f"{norm}.weight": torch.ones_like(bias),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.full_like(bias, 1 - eps),
            f"{norm}.num_batches_tracked": torch.tensor(0),
        }
    if weights:
        raise CheckpointError(
            f"{path}: a file of another architecture (also has {next(iter(weights))}); give the --stride, "
            "--separate-towers and --tower-depth that it was trained with"
        )
    return state


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network needs besides its anchors and classes.

    channels: of the top-down path. width_mult: of the backbone.
    """

    architecture: Architecture
    channels: int
    width_mult: float


def shape_of(path: Path) -> NetworkShape:
    """The shape of the network in a file of mmp-export, from the names and sizes of its weights.

    Raises: CheckpointError as `read_onnx_weights`.
    """
    weights = _named_weights(*_read(path))
    # Each layer of a tower has a depthwise and a pointwise kernel.
    kernels = [kernel for name, kernel in weights.items() if name.startswith("tower.") and name.endswith(".weight")]
    if not kernels:
        raise CheckpointError(f"{path}: has no tower, so that the shape of its network is not known")
    architecture = Architecture(
        separate_towers="predict_offsets.weight" in weights,
        tower_depth=max(len(kernels) // 2, 1),
        kernel_size=max(kernel.shape[-1] for kernel in kernels),
    )
    return NetworkShape(architecture, len(kernels[0]), _width_of(weights, path))


def _width_of(weights: dict[str, Tensor], path: Path) -> float:
    """A width that gives a MobileNetV2 these numbers of channels; all others that do give the same network."""
    last = len(weights.get(LAST_KERNEL, ()))
    nearest = sorted(range(10, 401), key=lambda percent: abs(LAST_CHANNELS * percent / 100 - last))
    for percent in nearest[:WIDTHS_TRIED]:
        with torch.device("meta"):
            blocks = mobilenet_v2_backbone(percent / 100).blocks
        kernels = {name: module for name, module in blocks.named_modules() if isinstance(module, nn.Conv2d)}
        if all(len(weights.get(f"features.{name}.weight", ())) == conv.out_channels for name, conv in kernels.items()):
            return percent / 100
    raise CheckpointError(f"{path}: its backbone is not a MobileNetV2 of a width that is known")


def head_of(path: Path) -> HeadMeaning:
    """The classes and anchors of a file of mmp-export, from its metadata.

    Raises: CheckpointError as `read_onnx_weights`.
    """
    metadata = metadata_of(path)
    return HeadMeaning(metadata.class_names, metadata.anchors.spec())


def metadata_of(path: Path) -> ModelMetadata:
    """What a float32 file of mmp-export states about itself.

    Raises: CheckpointError as `read_onnx_weights`.
    """
    return _read(path)[1]


@torch.no_grad()
def reopen_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give every batch norm the statistics of its input for these images (B, 3, H, W); the output stays the same.

    Each convolution is scaled to an output of deviation one, and the norm gets scale and shift. So a learning rate has
    the same effect as in a network that was never folded.
    """
    pairs = [(conv, norm) for conv, norm in _convolutions(network) if norm is not None]
    moments = {norm: _Moments() for _, norm in pairs}
    handles = [network.get_submodule(norm).register_forward_pre_hook(moments[norm].add) for _, norm in pairs]
    was_training = network.training
    network.eval()
    for images in batches:
        network(images)
    for handle in handles:
        handle.remove()
    network.train(was_training)
    for conv, norm in pairs:
        if moments[norm].count:
            _rescale(network.get_submodule(conv), network.get_submodule(norm), *moments[norm].mean_and_deviation())


class _Moments:
    """Running sums of the input of a batch norm, by channel."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double()  # (B, C, H, W)
        self.count += values.numel() // values.shape[1]
        self._sum = self._sum + values.sum(dim=(0, 2, 3))
        self._squares = self._squares + values.square().sum(dim=(0, 2, 3))

    def mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        mean = self._sum / self.count
        deviation = (self._squares / self.count - mean.square()).clamp(min=0).sqrt()
        return mean, torch.where(deviation < SMALLEST_DEVIATION, 1.0, deviation)


def _rescale(conv: nn.Module, norm: nn.Module, mean: Tensor, deviation: Tensor) -> None:
    """Divide the weights by the deviation and give the norm the matching statistics; the output stays the same."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.copy_(norm.bias + gain * (mean - norm.running_mean))
    norm.weight.copy_(gain * deviation * (1 + norm.eps) ** 0.5)
    norm.running_mean.copy_(mean / deviation)
    norm.running_var.fill_(1)
    conv.weight.copy_(conv.weight / deviation.view(-1, 1, 1, 1))


def _convolutions(network: nn.Module) -> Iterator[tuple[str, str | None]]:
    """Yield each convolution and the batch norm after it, if any: the next child of the same sequence, as in
    MobileNetV2 and MmpNet."""
    modules = dict(network.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            follower = f"{parent}.{int(child) + 1}" if child.isdecimal() else ""
            yield name, follower if isinstance(modules.get(follower), nn.BatchNorm2d) else None


def convolution_inputs(model: onnx.ModelProto) -> list[list[str]]:
    """Return the names of the stored kernel and bias of each convolution, also where a cast is in between."""
    stored = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    return [[stored.get(name, name) for name in node.input[1:]] for node in model.graph.node if node.op_type == "Conv"]


def _read(path: Path) -> tuple[onnx.ModelProto, ModelMetadata]:
    if not is_file(path):
        raise CheckpointError(f"{path}: no such weights file; expected one of mmp-export")
    try:
        check_seal(path)
        model = onnx.load(path)
    except ContractError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:
        raise CheckpointError(f"{path}: onnx cannot read it ({first_line(error, most=120)})") from error
    try:
        metadata = metadata_from_properties({p.key: p.value for p in model.metadata_props}, source=str(path))
    except ContractError as error:
        raise CheckpointError(str(error)) from error
    if metadata.precision != "float32":
        raise CheckpointError(
            f"{path}: is {metadata.precision}; only a float32 file has the weights of training; give that one, or the "
            "checkpoint"
        )
    return model, metadata


def _named_weights(model: onnx.ModelProto, metadata: ModelMetadata) -> dict[str, Tensor]:
    """Return the kernels and biases of the graph's convolutions by name, float32, the first kernel without
    normalization in it."""
    used = {name for names in convolution_inputs(model) for name in names}
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in model.graph.initializer
        if tensor.name in used
    }
    if FIRST_KERNEL in weights:
        weights[FIRST_KERNEL] = unfolded_kernel(weights[FIRST_KERNEL], metadata.input.kind)
    return weights
