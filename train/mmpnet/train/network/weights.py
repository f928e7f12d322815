"""Initial weights: an ImageNet backbone, or a network that mmp-train has trained."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torchvision.models import MobileNet_V2_Weights

from mmpnet.contract.errors import CheckpointError, first_line
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.checkpoint import FORMAT, load_tensors
from mmpnet.train.artifacts.config import ModelConfig, from_plain
from mmpnet.train.choices import BACKBONE_BLOCKS, NAMED_WEIGHTS
from mmpnet.train.model import MmpNet
from mmpnet.train.network.growth import grown
from mmpnet.train.network.head_rows import LOGITS, HeadMeaning, move_head
from mmpnet.train.network.onnx_weights import head_of, read_onnx_weights, reopen_norms


def load_weights(
    network: MmpNet, source: str, *, head: HeadMeaning | None = None, images: Iterable[Tensor] = ()
) -> str:
    """Fill the network from `none`, `imagenet` (torchvision's own download), a mobilenet_v2 state dict file, a
    checkpoint of mmp-train, an ONNX file of mmp-export, or `default`, the model that ships. Returns a line that says
    what was loaded.

    From a file of mmp-train or mmp-export all weights are taken. The rows of the last layer are moved by class name;
    those of classes that the file does not have start at random, and with other anchors the whole layer does. A network
    with more channels or larger kernels than the file's has the same output as that at first. An ONNX file has no
    statistics for batch norms: they are taken from `images`, batches (B, 3, H, W), normalized.

    Args:
        network: the network to fill.
        source: one of the names above, or a path.
        head: the classes and anchors of the network; without them the last layer is never taken from a file.
        images: for an ONNX file.

    Raises: CheckpointError if the file is missing, unreadable or of another network, or the download fails.
    """
    if source == "none":
        return "all weights start at random"
    if source == "imagenet":
        return _fill_backbone(network, _downloaded_imagenet_state(), source)
    path = model_path() if source == "default" else Path(source)
    if path.suffix.lower() == ".onnx":
        state = read_onnx_weights(path, network)
        line = _fill_network(network, state, head, head_of(path), path.name)
        reopen_norms(network, images)
        return line
    content = _content(path)
    if content.get("format") == FORMAT:
        model = from_plain(content.get("model"), ModelConfig, path=path)
        other = HeadMeaning(model.class_names, model.anchors)
        return _fill_network(network, content.get("ema"), head, other, source)
    return _fill_backbone(network, content, source)


def _fill_backbone(network: MmpNet, state: dict[str, Any], source: str) -> str:
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{source}: holds values that are no tensors; expected a mobilenet_v2 state dict")
    backbone = {
        name.removeprefix("features."): tensor
        for name, tensor in state.items()
        if name.startswith("features.") and not name.startswith(f"features.{BACKBONE_BLOCKS}.")
    }
    try:
        network.features.load_state_dict(backbone, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{source}: not a torchvision mobilenet_v2 state dict of this width "
            f"({first_line(error, most=160)}); expected keys like features.0.0.weight"
        ) from error
    return f"backbone from {source}; the rest starts at random"


def _fill_network(network: MmpNet, state: Any, head: HeadMeaning | None, other: HeadMeaning, source: str) -> str:
    own = network.state_dict()
    if isinstance(state, dict) and network.box_tower is not None and "predict_offsets.weight" not in state:
        state = _with_separate_towers(state, other)
    if not isinstance(state, dict) or state.keys() != own.keys():
        raise CheckpointError(
            f"{source}: a checkpoint of another architecture; give the --stride, --separate-towers and "
            "--tower-depth that it was trained with"
        )
    state = grown(state, own, source=source)
    body = {name: tensor for name, tensor in state.items() if not name.startswith(LOGITS)}
    moved = move_head(own, state, head, other, source=source)
    network.load_state_dict({**body, **moved.tensors})
    return f"weights from {source}" + (f"; {moved.remark}" if moved.remark else "")


def _with_separate_towers(state: dict[str, Tensor], other: HeadMeaning) -> dict[str, Tensor]:
    """Return the state of a network with one tower as the state of a network with two towers and the same output."""
    of_logits = other.num_logits
    split = {name.replace("tower.", "box_tower.", 1): t for name, t in state.items() if name.startswith("tower.")}
    for part in ("weight", "bias"):
        whole = state[f"predict.{part}"]
        split |= {f"predict.{part}": whole[:of_logits], f"predict_offsets.{part}": whole[of_logits:]}
    return {**state, **split}


def check_source(source: str) -> None:
    """Check, before the data is read, that there is such a file if the weights are not named.

    Raises: CheckpointError if there is none.
    """
    if source not in NAMED_WEIGHTS and not is_file(Path(source)):
        raise CheckpointError(
            f"{source}: no such weights file; give a mobilenet_v2 state dict, a checkpoint or ONNX file of ours, "
            "`default`, `imagenet` or `none`"
        )


def _content(path: Path) -> dict[str, Any]:
    check_source(str(path))
    content = load_tensors(path, expected="a mobilenet_v2 state dict, or a checkpoint or ONNX file of ours")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a state dict of tensors, found {type(content).__name__}")
    return cast(dict[str, Any], content)


def _downloaded_imagenet_state() -> dict[str, Tensor]:
    try:
        state = MobileNet_V2_Weights.IMAGENET1K_V2.get_state_dict(progress=True)
    except (OSError, RuntimeError) as error:  # no connection, or a file that does not match its hash
        raise CheckpointError(
            f"torchvision could not download its ImageNet weights ({first_line(error, most=160)}); "
            "give --weights FILE with a mobilenet_v2 state dict, or --weights none"
        ) from error
    return cast(dict[str, Tensor], dict(state))
