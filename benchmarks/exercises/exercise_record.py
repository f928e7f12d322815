"""What every exercise leaves behind: a JSON document that names the machine, and a plot."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from mmpnet.contract.errors import OutputError
from mmpnet.system.files import atomic_write

RESULTS = Path(__file__).parent / "results"


def record(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write a result with the machine it comes from, and return both.

    Raises: OutputError if the file cannot be written.
    """
    whole = {**result, "machine": machine()}
    make_folder(path.parent)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(whole, indent=2) + "\n")
    return whole


@contextmanager
def plot(path: Path, *, width: float = 8.0, height: float = 4.5) -> Iterator[Axes]:
    """Axes to draw on, in inches; saved as a PNG without dates, so that the same numbers give the same file.

    Raises: OutputError if the file cannot be written.
    """
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    try:
        yield axes
        make_folder(path.parent)
        with atomic_write(path) as partial:
            figure.savefig(partial, dpi=110, metadata={"Software": None})
    finally:
        pyplot.close(figure)


def make_folder(folder: Path) -> None:
    """Raises: OutputError if the folder is not there and cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}); choose another") from error


def machine() -> dict[str, str | int | None]:
    """Processor, cores and versions of what computes here."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    packages: dict[str, str | None] = {}
    for name in ("mmpnet", "numpy", "torch", "torchvision"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **packages}
