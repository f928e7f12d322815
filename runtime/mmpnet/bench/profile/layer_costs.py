"""Parameters and multiply-adds of each layer of an ONNX file, from the shapes that ONNX Runtime reports for one run.

The profiler reports every operator's input and output shapes, including initializers, so that onnx is not needed.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.bench.profile.ort_profile import KernelRun, Refusals, Shape, record_runs, with_batch_of_one
from mmpnet.contract.errors import ContractError
from mmpnet.system.onnx_runtime import onnxruntime

_REFUSALS = Refusals(
    cannot_open="ONNX Runtime cannot open it without optimization ({reason})",
    cannot_run="ONNX Runtime cannot run it on zeros ({reason}); give its size with --imgsz, or try another file",
)
_BYTES = {
    "float": 4,
    "float16": 2,
    "bfloat16": 2,
    "double": 8,
    "int8": 1,
    "uint8": 1,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}
_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_WEIGHT_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "BatchNormalization": (1, 2),
    "PRelu": (1,),
    "DequantizeLinear": (0,),
    "Cast": (0,),
}
"""The inputs of each operator that hold learned weights: kernels and biases, not statistics, scales or indices.
A quantized kernel in a QDQ file is an input of DequantizeLinear; a float16 kernel computed in float32, of Cast."""
_NEVER_WEIGHTS = ("int64", "bool")


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of one run: shape of its first output, number of weights, multiply-adds."""

    name: str
    op: str
    output_shape: Shape
    parameters: int
    multiply_adds: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_layers(path: Path, *, input_hw: tuple[int, int] | None = None) -> list[Layer]:
    """Every operator of the file, without optimization, in the order of execution.

    Multiply-adds are those of a run with batch 1, or with the fixed batch of the file. `input_hw` is the size to use
    if the file leaves height and width free.

    Raises: ContractError if an input's size is free and not given, or ONNX Runtime cannot run the file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # A kernel that repacks its weights drops the originals, and the profile no longer shows their shape.
    options.add_session_config_entry("session.disable_prepacking", "1")
    recording = record_runs(path, options, lambda port: _zeros(path, port, input_hw), runs=1, refusals=_REFUSALS)
    return [_layer(run) for run in recording.kernel_runs]


def _layer(run: KernelRun) -> Layer:
    op = run.arguments.op_name
    inputs = [next(iter(typed.items())) for typed in run.arguments.input_type_shape if typed]
    outputs = [next(iter(typed.values())) for typed in run.arguments.output_type_shape if typed]
    return Layer(
        name=run.name,
        op=op,
        output_shape=outputs[0] if outputs else (),
        parameters=_parameters(op, inputs, run.arguments.parameter_size),
        multiply_adds=_multiply_adds(op, [shape for _, shape in inputs], outputs),
    )


def _parameters(op: str, inputs: Sequence[tuple[str, Shape]], initializer_bytes: int) -> int:
    """Count numbers in the weight inputs that fit into the initializers' bytes; the other inputs are computed."""
    weights = [inputs[position] for position in _WEIGHT_INPUTS.get(op, ()) if position < len(inputs)]
    sizes = [(math.prod(shape), _BYTES.get(kind, 4)) for kind, shape in weights if kind not in _NEVER_WEIGHTS]
    count = 0
    for numbers, width in sorted(sizes, reverse=True):
        if numbers * width <= initializer_bytes:
            count += numbers
            initializer_bytes -= numbers * width
    return count


def _multiply_adds(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Multiply-adds of operators that consist of them; 0 for all others."""
    match op:
        case "Conv" | "ConvInteger":
            return math.prod(outputs[0]) * math.prod(inputs[1][1:])  # kernel (out, in / groups, ...)
        case "QLinearConv":
            return math.prod(outputs[0]) * math.prod(inputs[3][1:])
        case "ConvTranspose":
            return math.prod(inputs[0]) * math.prod(inputs[1][1:])  # kernel (in, out / groups, ...)
        case "Gemm":
            return math.prod(inputs[0]) * outputs[0][-1]
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return math.prod(outputs[0]) * inputs[0][-1]
        case _:
            return 0


def _zeros(path: Path, port: Any, input_hw: tuple[int, int] | None) -> NDArray[Any]:
    """A zero tensor for a session's input: a free batch is 1, two other free dimensions are height and width."""
    kind = _NUMPY_TYPES.get(port.type)
    if kind is None:
        raise ContractError(f"{path}: input {port.name} has type {port.type}; expected a tensor of numbers")
    shape = with_batch_of_one(port.shape)
    free = [index for index, side in enumerate(shape) if not isinstance(side, int)]
    if free and (len(free) != 2 or input_hw is None):
        sides = ", ".join("free" if side is None else str(side) for side in port.shape)
        what = "give --imgsz" if len(free) == 2 else "export it with a fixed size"
        raise ContractError(f"{path}: input {port.name} has shape ({sides}), so its size is not fixed; {what}")
    for index, side in zip(free, input_hw or (), strict=False):
        shape[index] = side
    return np.zeros(shape, kind)
