"""The results of an exercise: a JSON document that names the machine, and a plot."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from mmpnet.bench.environment import machine_document
from mmpnet.contract.errors import OutputError
from mmpnet.system.files import atomic_write

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision")
"""Packages whose versions are recorded, in addition to those that every benchmark records."""


def record(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write a result with the facts of this machine, and return both.

    Raises: OutputError if the file cannot be written.
    """
    whole = {**result, "machine": machine_document(PACKAGES)}
    make_folder(path.parent)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(whole, indent=2) + "\n")
    return whole


@contextmanager
def plot(path: Path, *, width: float = 8.0, height: float = 4.5) -> Iterator[Axes]:
    """Yield axes to draw on, and save them as a PNG without dates, so that equal numbers give equal files.

    width, height: size of the figure in inches.

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
    """Make a folder unless it is there. Raises: OutputError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}); choose another") from error
