"""Models tried on this machine's providers: the self-test each carries, and the time of an inference."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.self_test import run_self_test
from mmpnet.runtime.inference.session import PROVIDER_NAMES, Provider
from mmpnet.system.onnx_runtime import onnxruntime

TIMED_RUNS = 15


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one provider: the median time of an inference, or why it is not to be used there."""

    model: str
    provider: str
    infer_ms: float | None = None
    fault: str | None = None


def try_sessions(models: Sequence[str]) -> Iterator[SessionReport]:
    """Every model on every provider that this onnxruntime has.

    Raises: ContractError if a model is named that this build does not have.
    """
    available = onnxruntime.get_available_providers()
    for provider, name in PROVIDER_NAMES.items():
        if name in available:
            for model in models:
                yield _tried(model, model_path(model), provider)


def _tried(model: str, path: Path, provider: Provider) -> SessionReport:
    try:
        detector = Detector(path, provider=provider)
        run_self_test(detector)
    except MmpnetError as error:
        return SessionReport(model=model, provider=provider, fault=str(error).removeprefix(f"{path}: "))
    frame = np.zeros((*detector.metadata.input.size_hw, 3), np.uint8)
    times = [detector.timed(frame)[1].infer_ms for _ in range(TIMED_RUNS)]
    return SessionReport(model=model, provider=provider, infer_ms=round(statistics.median(times), 2))
