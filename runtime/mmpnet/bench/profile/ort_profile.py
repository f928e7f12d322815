"""Record ONNX Runtime's profile of a file: every kernel of several runs."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from numpy.typing import NDArray

from mmpnet.contract.errors import ContractError
from mmpnet.system.onnx_runtime import onnxruntime

Shape = tuple[int, ...]
TensorOf: TypeAlias = Callable[[Any], NDArray[Any]]
"""Makes the tensor for a session's input; the input has a name, a type and a shape."""

_FATAL_ONLY = 4
_EVENT_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Messages for a file that ONNX Runtime cannot open or run; `{reason}` is replaced by its own message."""

    cannot_open: str
    cannot_run: str


class KernelArguments(msgspec.Struct, frozen=True):
    """The profiler's facts about a kernel: types with shapes, including initializers, and sizes in bytes.

    parameter_size: size of the inputs that are initializers. activation_size: size of the other inputs.
    """

    op_name: str
    input_type_shape: list[dict[str, Shape]]
    output_type_shape: list[dict[str, Shape]]
    node_index: int = 0
    parameter_size: int = 0
    activation_size: int = 0
    output_size: int = 0


@dataclass(frozen=True, slots=True)
class KernelRun:
    """One kernel in one run; its name is that of the node."""

    name: str
    ms: float
    arguments: KernelArguments


@dataclass(frozen=True, slots=True)
class Recording:
    """Every kernel of every run, in the order of execution, and the time of each whole run."""

    kernel_runs: tuple[KernelRun, ...]
    runs_ms: tuple[float, ...]


class _Event(msgspec.Struct, frozen=True):
    cat: str
    name: str
    dur: int = 0
    """Duration in microseconds."""
    args: msgspec.Raw = msgspec.Raw(b"{}")


def record_runs(
    path: Path, options: onnxruntime.SessionOptions, tensor_of: TensorOf, *, runs: int, refusals: Refusals
) -> Recording:
    """Profile `runs` runs on the CPU with the same tensors; sets `options` to profile and not to log.

    Raises: ContractError, with the messages of `refusals`, if ONNX Runtime cannot open or run the file, or if its
    profile cannot be read; errors of `tensor_of` are passed on.
    """
    with tempfile.TemporaryDirectory() as folder:
        options.log_severity_level = _FATAL_ONLY
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ContractError(f"{path}: {refusals.cannot_open.format(reason=_short(error))}") from error
        try:
            feed = {port.name: tensor_of(port) for port in session.get_inputs()}
            for _ in range(runs):
                session.run(None, feed)
        except ContractError:
            raise
        except Exception as error:
            raise ContractError(f"{path}: {refusals.cannot_run.format(reason=_short(error))}") from error
        finally:
            profile = Path(session.end_profiling())
        written = profile.read_bytes()
    try:
        return _recording(msgspec.json.decode(written, type=list[_Event]))
    except msgspec.MsgspecError as error:
        raise ContractError(
            f"{path}: the profile of ONNX Runtime {onnxruntime.__version__} cannot be read ({_short(error)}); "
            "try another version of onnxruntime"
        ) from error


def with_batch_of_one(shape: Sequence[Any]) -> list[Any]:
    """An input's shape with 1 for a free first dimension; a free dimension is a name or None."""
    return [1 if index == 0 and not isinstance(side, int) else side for index, side in enumerate(shape)]


def _recording(events: Sequence[_Event]) -> Recording:
    return Recording(
        kernel_runs=tuple(_kernel_runs(events)),
        runs_ms=tuple(event.dur / 1e3 for event in events if event.name == "model_run"),
    )


def _kernel_runs(events: Sequence[_Event]) -> Iterator[KernelRun]:
    for event in events:
        if event.cat == "Node" and event.name.endswith(_EVENT_SUFFIX):
            yield KernelRun(
                name=event.name.removesuffix(_EVENT_SUFFIX),
                ms=event.dur / 1e3,
                arguments=msgspec.json.decode(event.args, type=KernelArguments, strict=False),
            )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
