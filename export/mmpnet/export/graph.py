"""A checkpoint's network as ONNX bytes: one graph from letterboxed uint8 to decoded candidates."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import onnx
import torch

from mmpnet.contract.errors import ExportError
from mmpnet.train.candidates import CandidateNet

Batch: TypeAlias = int | Literal["dynamic"]

INPUT_NAME = "images"
OUTPUT_NAMES = ("boxes", "scores", "class_ids")
DEFAULT_OPSET = 13
"""The lowest that has every operator of the graph, so that old runtimes open the file."""


def export_graph(candidates: CandidateNet, *, batch: Batch, opset: int) -> onnx.ModelProto:
    """Trace to ONNX and check it strictly; a dynamic batch is the free dimension `batch`.

    Raises: ExportError if torch cannot export at this opset or the result is not valid ONNX.
    """
    example = torch.zeros((2 if batch == "dynamic" else batch, *candidates.input_hw, 3), dtype=torch.uint8)
    names = (INPUT_NAME, *OUTPUT_NAMES)
    file = io.BytesIO()
    try:
        with _quiet(), torch.inference_mode():
            # The TorchScript exporter: it keeps the opset that was asked for and one file, see docs/adr/0005.
            torch.onnx.export(
                candidates.eval(),
                (example,),
                file,  # type: ignore[arg-type]
                input_names=[INPUT_NAME],
                output_names=list(OUTPUT_NAMES),
                dynamic_axes={name: {0: "batch"} for name in names} if batch == "dynamic" else None,
                opset_version=opset,
                dynamo=False,
            )
        model = onnx.load_model_from_string(file.getvalue())
        _name_output_shapes(model, batch, candidates.top_k)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"torch {torch.__version__} cannot export at opset {opset}: {reason}") from error
    return model


def _name_output_shapes(model: onnx.ModelProto, batch: Batch, top_k: int) -> None:
    """The tracer gives computed sizes made-up names; state what they are."""
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        if batch == "dynamic":
            dims[0].dim_param = "batch"
        dims[1].Clear()
        dims[1].dim_value = top_k


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on its own future are no concern of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield
