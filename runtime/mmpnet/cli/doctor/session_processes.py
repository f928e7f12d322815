"""Test models in child processes, so that a crash becomes a line. Needs neither OpenCV nor ONNX Runtime."""

import subprocess
from collections.abc import Sequence

import msgspec

from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.providers import PROVIDER_NAMES
from mmpnet.system.child_python import PYTHON_COMMAND
from mmpnet.system.libraries import crash


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one provider: the median inference time, or the reason why it does not work."""

    model: str
    provider: str
    infer_ms: float | None = None
    fault: str | None = None


def try_sessions(models: Sequence[str], *, providers: Sequence[str]) -> list[SessionReport]:
    """Test every model on every known provider; providers: names as in ONNX Runtime.

    Raises: ContractError for a model name that this build does not have.
    """
    for model in models:
        model_path(model)
    pairs = [(model, short) for short, name in PROVIDER_NAMES.items() if name in providers for model in models]
    reports: list[SessionReport] = []
    while len(reports) < len(pairs):
        left = pairs[len(reports) :]
        found, end = _run(left)
        reports += found
        if len(found) < len(left):
            model, provider = left[len(found)]
            reports.append(SessionReport(model=model, provider=provider, fault=end))
    return reports


def _run(pairs: Sequence[tuple[str, str]]) -> tuple[list[SessionReport], str]:
    """The reports of a child process, and how it ended."""
    # -P: a file in the current folder must not shadow an import.
    command = [*PYTHON_COMMAND, "-m", "mmpnet.cli.doctor.sessions", msgspec.json.encode(pairs).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    reports = [msgspec.json.decode(line, type=SessionReport) for line in done.stdout.splitlines()]
    if done.returncode < 0:
        return reports, f"Python {crash(done.returncode)}"
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return reports, (said[-1] if said else f"ended with exit code {done.returncode}")[:300]
