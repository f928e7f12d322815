"""A run's report.html: its losses, and its best.pth on the validation set."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from mmpnet.contract.errors import MmpnetError, OutputError
from mmpnet.runtime.command import people
from mmpnet.runtime.curves import Curve
from mmpnet.runtime.datasets.types import Dataset, Picture
from mmpnet.runtime.evaluate import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS, evaluate
from mmpnet.runtime.report_input import History, Line, Measured
from mmpnet.runtime.report_page import write_report
from mmpnet.train.checkpoint import Checkpoint, load_checkpoint
from mmpnet.train.detector import torch_detector
from mmpnet.train.device import resolve_device
from mmpnet.train.report import BEST, RESULTS
from mmpnet.train.stopping import InterruptedRunError
from mmpnet.train.subject import checkpoint_subject

REPORT = "report.html"
LOSS = "_loss"
"""Columns of results.csv that end like this are losses."""


def write_run_report(folder: Path, val: Dataset | None, *, device: str) -> None:
    """Evaluate the run's best.pth once and write report.html; without a validation set it shows the losses.

    Raises: OutputError if there can be no report, InterruptedRunError on Ctrl-C; they say that the run is complete all
    the same.
    """
    try:
        checkpoint = load_checkpoint(folder / BEST)
        measured = None if val is None else _measured(checkpoint, val, device)
        subject = checkpoint_subject(folder / BEST, checkpoint)
        write_report(folder / REPORT, subject, measured=measured, history=read_history(folder / RESULTS))
    except MmpnetError as error:
        raise OutputError(
            f"the run is complete, {folder / BEST} is written; only its report failed: {error}"
        ) from error
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(
            f"the run is complete, only its report is missing; make it with: mmp-train --resume {folder}"
        ) from stop


def read_history(path: Path) -> History:
    """A run's results.csv: every loss, AP and AP50.

    Raises: OutputError if it cannot be read as such a table.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = list(rows[0]) if rows else []
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
        epochs: Curve = columns["epoch"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path}: is not the table of a run's epochs ({error}); expected what mmp-train wrote"
        ) from error
    losses = [Line(name.removesuffix(LOSS), epochs, y) for name, y in columns.items() if name.endswith(LOSS)]
    accuracies = [Line(name, epochs, columns[name]) for name in ("AP", "AP50") if name in columns]
    return History(tuple(losses), tuple(accuracies))


def _measured(checkpoint: Checkpoint, val: Dataset, device: str) -> Measured:
    where = resolve_device(device)
    detect = torch_detector(
        checkpoint.network().to(where), checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=where
    )
    evaluation = evaluate(detect, val, checkpoint.model.class_names, progress=_shown)
    return Measured(val, evaluation, EVALUATION_PROTOCOL)


def _shown(pictures: Sequence[Picture]) -> Iterator[Picture]:
    return iter(track(pictures, description=f"evaluating {BEST} for the report", console=people()))
