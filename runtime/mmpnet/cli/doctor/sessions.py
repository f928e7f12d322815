"""Test models on this machine's providers: run the self-test in each file, and time an inference.

`python -m mmpnet.cli.doctor.sessions PAIRS`: PAIRS is a JSON list of [model, provider]; prints one SessionReport per
line.
"""

import statistics
import sys

import msgspec
import numpy as np

from mmpnet.cli.doctor.session_processes import SessionReport
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.inference.self_test import run_self_test

TIMED_RUNS = 15


def try_session(model: str, provider: Provider) -> SessionReport:
    """Open a model on a provider, run its self-test and time it; a failure is in the report."""
    path = model_path(model)
    try:
        detector = Detector(path, provider=provider)
        run_self_test(detector)
    except MmpnetError as error:
        return SessionReport(model=model, provider=provider, fault=str(error).removeprefix(f"{path}: "))
    frame = np.zeros((*detector.metadata.input.size_hw, 3), np.uint8)
    times = [detector.timed(frame)[1].infer_ms for _ in range(TIMED_RUNS)]
    return SessionReport(model=model, provider=provider, infer_ms=round(statistics.median(times), 2))


def main() -> None:
    """Test the pairs of the command line in their order."""
    for model, provider in msgspec.json.decode(sys.argv[1], type=list[tuple[str, Provider]]):
        sys.stdout.write(msgspec.json.encode(try_session(model, provider)).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
