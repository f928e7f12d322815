"""The report.html of a run: losses, and the accuracy of best.pth on the validation set."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmpnet.contract.errors import MmpnetError, OutputError
from mmpnet.contract.option_fields import option_fields
from mmpnet.contract.text import counted
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.curves import Curve
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.evaluation.report.inputs import History, Line, Measured, Subject
from mmpnet.evaluation.report.report import write_report
from mmpnet.system.progress import Progress, no_progress
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, sha256_of
from mmpnet.train.artifacts.options import SECTIONS
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.run_writer import BEST, RESULTS
from mmpnet.train.network.torch_detector import torch_detector

REPORT = "report.html"
LOSS = "_loss"
"""End of the names of the columns of results.csv that are losses."""


def write_run_report(folder: Path, val: Dataset | None, *, device: str, progress: Progress = no_progress) -> None:
    """Evaluate best.pth of a run and write report.html; without a validation set the report has only the losses.

    Raises: OutputError if the report cannot be made, InterruptedRunError on Ctrl-C; both say that the run is complete.
    """
    try:
        checkpoint = load_checkpoint(folder / BEST)
        measured = None if val is None else _measured(checkpoint, val, device, progress)
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
    """Return the losses, AP and AP50 in results.csv of a run.

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


def _measured(checkpoint: Checkpoint, val: Dataset, device: str, progress: Progress) -> Measured:
    where = resolve_device(device)
    detect = torch_detector(
        checkpoint.network().to(where), checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=where
    )

    def tracked(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(progress(images, f"evaluating {BEST} for the report"))

    evaluation = evaluate(detect, val, checkpoint.model.class_names, progress=tracked)
    return Measured(val, evaluation, EVALUATION_PROTOCOL)


def checkpoint_subject(path: Path, checkpoint: Checkpoint) -> Subject:
    """Return the facts and options that a checkpoint holds, for a report."""
    provenance, model = checkpoint.provenance, checkpoint.model
    height, width = model.input_hw
    trained_on = (
        f"{provenance.train_name}, {counted(provenance.train_images, 'image')}, sha256 {provenance.train_sha256}"
    )
    facts = (
        ("model", f"{path.name}, {height}x{width} px, stride {model.stride}, {len(model.sizes_px)} anchor sizes"),
        ("classes", ", ".join(model.class_names[1:])),
        ("checkpoint sha256", sha256_of(path)),
        ("trained on", trained_on),
        ("epoch kept", f"{provenance.epochs_done} of {checkpoint.train.schedule.epochs}, seed {provenance.seed}"),
        ("source tree", f"mmpnet {provenance.mmpnet_version}, commit {provenance.git_commit or 'unknown'}"),
    )
    options = checkpoint.train.options()
    settings = tuple(
        (field.label, str(options[field.name])) for one in SECTIONS.values() for field in option_fields(one)
    )
    return Subject(f"{path.resolve().parent.name}/{path.name}", facts, settings)
