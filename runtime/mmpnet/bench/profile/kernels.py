"""Times of the kernels that ONNX Runtime runs for a model, after fusion and repacking, from its profiler."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.bench.profile.ort_profile import KernelRun, Refusals, Shape, record_runs, with_batch_of_one
from mmpnet.contract.errors import ContractError
from mmpnet.system.files import is_file
from mmpnet.system.onnx_runtime import onnxruntime

WARM_UP_RUNS = 5
_REFUSAL = "ONNX Runtime cannot run it on random pixels ({reason}); try another file"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One node of the optimized graph.
    input_type: type of its first input, such as `float` or `uint8`. output_shape: of its first output.
    activation_bytes: bytes read and written, without weights and other constants.
    """

    name: str
    op: str
    input_type: str
    output_shape: Shape
    activation_bytes: int
    median_ms: float


@dataclass(frozen=True, slots=True)
class Profile:
    """All kernels in the order of execution; run_ms is the median of whole runs, which exceeds their sum."""

    kernels: tuple[Kernel, ...]
    run_ms: float


def profile_kernels(path: Path, *, runs: int) -> Profile:
    """Profile `runs` runs on the CPU with one thread, after WARM_UP_RUNS, on random pixels from a seed.

    Raises: ContractError if the file is missing or does not run, or an input has a free size or a type that is not an
    image's.
    """
    if not is_file(path):
        raise ContractError(f"{path}: no such model file; expected an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    recording = record_runs(
        path, options, partial(_noise, path), runs=WARM_UP_RUNS + runs, refusals=Refusals(_REFUSAL, _REFUSAL)
    )
    return Profile(
        kernels=tuple(_kernels(recording.kernel_runs)), run_ms=float(np.median(recording.runs_ms[WARM_UP_RUNS:]))
    )


def _kernels(kernel_runs: Sequence[KernelRun]) -> Iterator[Kernel]:
    runs_of: dict[tuple[str, int], list[KernelRun]] = {}
    for run in kernel_runs:
        runs_of.setdefault((run.name, run.arguments.node_index), []).append(run)
    for (name, _), runs in runs_of.items():
        arguments = runs[-1].arguments
        inputs = [kind for typed in arguments.input_type_shape for kind in typed]
        outputs = [shape for typed in arguments.output_type_shape for shape in typed.values()]
        yield Kernel(
            name=name,
            op=arguments.op_name,
            input_type=inputs[0] if inputs else "",
            output_shape=outputs[0] if outputs else (),
            activation_bytes=arguments.activation_size + arguments.output_size,
            median_ms=float(np.median([run.ms for run in runs[WARM_UP_RUNS:]])),
        )


def _noise(path: Path, port: Any) -> NDArray[Any]:
    """Random pixels from a seed for a session's input; a free batch dimension is 1."""
    shape = with_batch_of_one(port.shape)
    if not all(isinstance(side, int) for side in shape):
        raise ContractError(f"{path}: input {port.name} has a free size; export it with a fixed --imgsz")
    random = np.random.default_rng(0)
    match port.type:
        case "tensor(uint8)":
            return random.integers(0, 256, shape, np.uint8)
        case "tensor(float)":
            return random.random(shape, np.float32)
        case "tensor(float16)":
            return random.random(shape, np.float32).astype(np.float16)
        case _:
            raise ContractError(f"{path}: input {port.name} has type {port.type}; expected an image, uint8 or float")
