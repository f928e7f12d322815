"""Trace a network to an ONNX graph, from letterboxed pixels to the label grid and its best boxes."""

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import onnx
import torch
from torch import Tensor, nn

from mmpnet.contract.errors import ExportError
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.node_names import module_name
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.network.folding import Shift, with_folded_input
from mmpnet.train.network.inference_net import CandidateNet

Batch: TypeAlias = int | Literal["dynamic"]

INPUT_NAME = "images"
GRID_NAME = "grid"
CANDIDATE_NAMES = ("boxes", "scores", "class_ids")
NETWORK_SCOPE = "/network/"
"""The names of the network's nodes contain this; the names of the nodes that decode its grid do not."""


def export_graph(
    candidates: CandidateNet, *, batch: Batch, opset: int, kind: InputKind = "uint8-nhwc"
) -> onnx.ModelProto:
    """Trace a network to ONNX with the outputs grid, boxes, scores and class_ids.

    Normalization and batch norms are folded into the convolutions. With a fixed batch, the graph computes no shape at
    run time; a dynamic batch is the free dimension `batch`.

    candidates: the network and its decoder, in evaluation mode.
    batch: number of images per run, or "dynamic".
    opset: ONNX operator set.
    kind: "uint8-nhwc" for letterboxed BGR bytes (B, H, W, 3), "float-nchw" for RGB in [0, 1] (B, 3, H, W).

    Raises: ExportError if torch cannot export at this opset or the result is not valid ONNX.
    """
    names = (INPUT_NAME, GRID_NAME, *CANDIDATE_NAMES)
    file = io.BytesIO()
    try:
        with _quiet(), torch.inference_mode():
            # The TorchScript exporter keeps the requested opset and writes one file, see docs/adr/0005.
            torch.onnx.export(
                _WithGrid(candidates, kind).eval(),
                (_example(kind, batch, candidates.input_hw),),
                file,  # type: ignore[arg-type]
                input_names=[INPUT_NAME],
                output_names=[GRID_NAME, *CANDIDATE_NAMES],
                dynamic_axes={name: {0: "batch"} for name in names} if batch == "dynamic" else None,
                opset_version=opset,
                dynamo=False,
            )
        model = onnx.load_model_from_string(file.getvalue())
        _name_output_shapes(model, candidates, batch)
        model = fold_constants(model)
        _name_weights(model, candidates.network)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"torch {torch.__version__} cannot export at opset {opset}: {reason}") from error
    return model


class _WithGrid(nn.Module):
    """A CandidateNet whose first convolution contains the normalization, and whose grid is one more output."""

    def __init__(self, candidates: CandidateNet, kind: InputKind) -> None:
        super().__init__()
        self.shift = Shift(kind)
        self.candidates = CandidateNet(
            with_folded_input(candidates.network, kind),
            candidates.anchors,
            candidates.input_hw,
            top_k=candidates.top_k,
            normalize=nn.Identity(),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        grid = self.candidates.network(self.shift(images))
        return grid, *self.candidates.select(grid)


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold what can be computed before run time.

    ONNX Runtime's basic optimizations do this; they leave standard operators only.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(path)
    drop_unused_domains(folded)
    folded.ir_version = model.ir_version
    return folded


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Remove operator sets that no node uses.

    Tools list every operator set that they know, and an older runtime refuses a file with one that it does not know.
    """
    used = {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def drop_unused_initializers(model: onnx.ModelProto) -> None:
    """Remove initializers that no node reads and that are no output.

    Older runtimes warn about them, and they take space.
    """
    used = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)


def _name_weights(model: onnx.ModelProto, network: nn.Module) -> None:
    """Give the weights of each convolution their names in the network, so that a viewer, or training, finds them."""
    modules = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    new_names: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            module = module_name(node.name[node.name.index(NETWORK_SCOPE) :])
            modules.remove(module)
            for index, part in ((1, "weight"), (2, "bias")):
                new_names[node.input[index]] = node.input[index] = f"{module}.{part}"
    for tensor in model.graph.initializer:
        tensor.name = new_names.get(tensor.name, tensor.name)
    assert not modules


def _example(kind: InputKind, batch: Batch, input_hw: tuple[int, int]) -> Tensor:
    count = 2 if batch == "dynamic" else batch
    if kind == "uint8-nhwc":
        return torch.zeros((count, *input_hw, 3), dtype=torch.uint8)
    return torch.zeros((count, 3, *input_hw))


def _name_output_shapes(model: onnx.ModelProto, candidates: CandidateNet, batch: Batch) -> None:
    """State the shapes of the outputs, because the tracer invents names for sizes that are computed."""
    network, top_k = candidates.network, candidates.top_k
    channels = network.num_classes + 4
    shapes = {
        GRID_NAME: (channels, *candidates.anchors.grid_shape(candidates.input_hw)),
        "boxes": (top_k, 4),
        "scores": (top_k,),
        "class_ids": (top_k,),
    }
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        if batch == "dynamic":
            dims[0].dim_param = "batch"
        for dim, size in zip(list(dims)[1:], shapes[output.name], strict=True):
            dim.Clear()
            dim.dim_value = size


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's warnings about its own deprecation, which do not concern the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield
