"""What ONNX Runtime's profiler says of one model's kernels: those that really run, fused and repacked."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mmpnet.contract.errors import ContractError
from mmpnet.runtime.layers import Shape
from mmpnet.runtime.paths import is_file

WARM_UP_RUNS = 5
_FATAL_ONLY = 4
_EVENT_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One node of the optimised graph.

    input_type: of its first input, such as `float` or `uint8`. output_shape: of its first output. activation_bytes:
    what it reads and writes of tensors that change from run to run.
    """

    name: str
    op: str
    input_type: str
    output_shape: Shape
    activation_bytes: int
    median_ms: float


@dataclass(frozen=True, slots=True)
class Profile:
    """All kernels in the order of execution; run_ms: median of whole runs, which is more than their sum."""

    kernels: tuple[Kernel, ...]
    run_ms: float


class _Arguments(msgspec.Struct, frozen=True):
    op_name: str
    input_type_shape: list[dict[str, Shape]]
    output_type_shape: list[dict[str, Shape]]
    node_index: int = 0
    activation_size: int = 0
    output_size: int = 0


class _Event(msgspec.Struct, frozen=True):
    cat: str
    name: str
    dur: int = 0
    """Microseconds."""
    args: msgspec.Raw = msgspec.Raw(b"{}")


def profile_kernels(path: Path, *, runs: int) -> Profile:
    """So many runs on the CPU with one thread, after WARM_UP_RUNS, on seeded noise.

    Raises: ContractError if the file is missing or does not run, or an input's size is free or its type no picture's.
    """
    if not is_file(path):
        raise ContractError(f"{path}: no such model file; expected an ONNX file")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            feed = {port.name: _noise(path, port) for port in session.get_inputs()}
            for _ in range(WARM_UP_RUNS + runs):
                session.run(None, feed)
            written = Path(session.end_profiling()).read_bytes()
        except ContractError:
            raise
        except Exception as error:
            raise ContractError(f"{path}: does not run on noise ({_short(error)}); try another file") from error
    try:
        return _profile(msgspec.json.decode(written, type=list[_Event]))
    except msgspec.MsgspecError as error:
        raise ContractError(
            f"{path}: the profile of ONNX Runtime {onnxruntime.__version__} cannot be read ({_short(error)}); "
            "try another version of onnxruntime"
        ) from error


def _profile(events: Sequence[_Event]) -> Profile:
    runs_ms = [event.dur / 1e3 for event in events if event.name == "model_run"][WARM_UP_RUNS:]
    return Profile(kernels=tuple(_kernels(events)), run_ms=float(np.median(runs_ms)))


def _kernels(events: Sequence[_Event]) -> Iterator[Kernel]:
    of_kernel: dict[tuple[str, int], list[tuple[float, _Arguments]]] = {}
    for event in events:
        if event.cat == "Node" and event.name.endswith(_EVENT_SUFFIX):
            arguments = msgspec.json.decode(event.args, type=_Arguments, strict=False)
            key = event.name.removesuffix(_EVENT_SUFFIX), arguments.node_index
            of_kernel.setdefault(key, []).append((event.dur / 1e3, arguments))
    for (name, _), runs in of_kernel.items():
        arguments = runs[-1][1]
        inputs = [kind for typed in arguments.input_type_shape for kind in typed]
        outputs = [shape for typed in arguments.output_type_shape for shape in typed.values()]
        yield Kernel(
            name=name,
            op=arguments.op_name,
            input_type=inputs[0] if inputs else "",
            output_shape=outputs[0] if outputs else (),
            activation_bytes=arguments.activation_size + arguments.output_size,
            median_ms=float(np.median([ms for ms, _ in runs[WARM_UP_RUNS:]])),
        )


def _noise(path: Path, port: Any) -> NDArray[Any]:
    """Seeded pixels for a session's input: a free batch is 1."""
    shape = [1 if index == 0 and not isinstance(side, int) else side for index, side in enumerate(port.shape)]
    if not all(isinstance(side, int) for side in shape):
        raise ContractError(f"{path}: input {port.name} leaves its size free; export it with a fixed --imgsz")
    random = np.random.default_rng(0)
    match port.type:
        case "tensor(uint8)":
            return random.integers(0, 256, shape, np.uint8)
        case "tensor(float)":
            return random.random(shape, np.float32)
        case "tensor(float16)":
            return random.random(shape, np.float32).astype(np.float16)
        case _:
            raise ContractError(f"{path}: input {port.name} is a {port.type}; expected a picture, uint8 or float")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
