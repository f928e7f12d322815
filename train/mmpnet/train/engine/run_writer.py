"""What a run shows and leaves behind: a progress bar, last.pth, best.pth, results.csv and config.json."""

import csv
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mmpnet.contract.errors import OutputError
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import Evaluation
from mmpnet.system.files import atomic_write
from mmpnet.train.artifacts.checkpoint import Checkpoint, Provenance, save_checkpoint
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.engine.state import TrainingState

LAST, BEST, RESULTS, CONFIG = "last.pth", "best.pth", "results.csv", "config.json"
_COLUMNS = ("epoch", "classification_loss", "box_loss", "seconds", *COCO_NUMBERS, "quasi_iou")


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One finished epoch, counted from 1: its mean losses and, where it was measured, its accuracy."""

    epoch: int
    classification_loss: float
    box_loss: float
    evaluation: Evaluation | None


class TrainingReport:
    """Writes one run's folder, where this process is the one to do so, and shows its progress on a console."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        model: ModelConfig,
        provenance: Provenance,
        console: Console,
        *,
        writes: bool = True,
    ) -> None:
        self.folder = folder
        self._writes = writes
        self._config = config
        self._model = model
        self._provenance = provenance
        self._console = console
        self._epoch_started = time.monotonic()
        self._images_per_s = 0.0
        self._batch_done_at = 0.0
        self._progress: Progress
        self._task: TaskID

    def start(self, first_epoch: int) -> None:
        """Create the folder, write config.json, and drop rows of results.csv that this run will write again.

        Raises: OutputError if the folder cannot be written.
        """
        if not self._writes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"train": msgspec.to_builtins(self._config), "model": msgspec.to_builtins(self._model)}
            with atomic_write(self.folder / CONFIG) as partial:
                partial.write_text(json.dumps(content, indent=2) + "\n")
            rows = self._rows()
            self._write_rows([row for row in rows if int(row["epoch"]) <= first_epoch])
        except OSError as error:
            raise OutputError(f"{self.folder}: run folder cannot be written ({error.strerror})") from error

    @contextmanager
    def live(self, batches_per_epoch: int, state: TrainingState) -> Iterator[None]:
        """Show the bar over the whole run while it lasts."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task(
            self._label(state),
            total=self._config.epochs * batches_per_epoch,
            completed=state.epoch * batches_per_epoch + state.batch,
            status="",
        )
        self._epoch_started = self._batch_done_at = time.monotonic()
        with self._progress:
            yield

    def batch_done(self, state: TrainingState, rate: float, *, images: int) -> None:
        """Move the bar by one batch."""
        now = time.monotonic()
        speed = images / max(now - self._batch_done_at, 1e-6)
        self._batch_done_at = now
        self._images_per_s = speed if not self._images_per_s else 0.9 * self._images_per_s + 0.1 * speed
        classification, box = (total / state.batch for total in state.loss_sums)
        self._progress.update(
            self._task,
            advance=1,
            description=self._label(state),
            status=f"cls {classification:.3f} box {box:.3f} lr {rate:.1e} {self._images_per_s:.1f} img/s",
        )

    def evaluation_progress(self, pictures: Iterable[object]) -> Iterator[object]:
        """The pictures, with a bar of their own."""
        items = list(pictures)
        task = self._progress.add_task("evaluating", total=len(items), status="")
        for item in items:
            yield item
            self._progress.advance(task)
        self._progress.remove_task(task)
        self._batch_done_at = time.monotonic()

    def save_last(self, state: TrainingState) -> None:
        """Write last.pth: weights to deploy and everything needed to go on."""
        if self._writes:
            save_checkpoint(self.folder / LAST, self._checkpoint(state, None, resumable=True))

    def epoch_done(self, state: TrainingState, result: EpochResult, *, is_best: bool) -> None:
        """Record a finished epoch: best.pth first, then results.csv, then last.pth, which moves the run on."""
        if is_best and self._writes:
            save_checkpoint(self.folder / BEST, self._checkpoint(state, result.evaluation, resumable=False))
        seconds = time.monotonic() - self._epoch_started
        self._epoch_started = self._batch_done_at = time.monotonic()
        accuracy = {} if result.evaluation is None else result.evaluation.as_dict()
        row = {
            "epoch": result.epoch,
            "classification_loss": f"{result.classification_loss:.6f}",
            "box_loss": f"{result.box_loss:.6f}",
            "seconds": f"{seconds:.1f}",
            **{name: accuracy.get(name) for name in (*COCO_NUMBERS, "quasi_iou")},
        }
        if self._writes:
            self._write_rows(
                [*self._rows(), {name: "" if value is None else str(value) for name, value in row.items()}]
            )
        self.save_last(state)
        self._console.print(self._epoch_line(result, seconds, is_best=is_best))

    def _epoch_line(self, result: EpochResult, seconds: float, *, is_best: bool) -> str:
        line = (
            f"epoch {result.epoch}/{self._config.epochs}  cls {result.classification_loss:.4f}  "
            f"box {result.box_loss:.4f}  {self._images_per_s:.1f} img/s  {seconds:.0f} s"
        )
        if result.evaluation is not None:
            line += f"  AP {result.evaluation.ap():.4f}  AP50 {result.evaluation.ap('AP50'):.4f}"
        return line + ("  best" if is_best else "")

    def _checkpoint(self, state: TrainingState, evaluation: Evaluation | None, *, resumable: bool) -> Checkpoint:
        measured = None if evaluation is None else evaluation.as_dict()
        provenance = msgspec.structs.replace(self._provenance, epochs_done=state.epoch, evaluation=measured)
        return Checkpoint(
            model=self._model,
            train=self._config,
            provenance=provenance,
            ema=state.average.network.state_dict(),
            progress=state.progress() if resumable else None,
        )

    def _label(self, state: TrainingState) -> str:
        return f"epoch {min(state.epoch + 1, self._config.epochs)}/{self._config.epochs}"

    def _rows(self) -> list[dict[str, str]]:
        path = self.folder / RESULTS
        if not path.exists():
            return []
        try:
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
            if tuple(reader.fieldnames or ()) == _COLUMNS and all(row["epoch"].isdecimal() for row in rows):
                return rows
        except (UnicodeDecodeError, csv.Error):
            pass
        raise OutputError(f"{path}: was changed by another program; move it away, a new one will be started")

    def _write_rows(self, rows: list[dict[str, str]]) -> None:
        with atomic_write(self.folder / RESULTS) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
