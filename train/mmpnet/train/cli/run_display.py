"""What mmp-train shows of a run on the console: lines, tables and a progress bar."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mmpnet.cli.dataset_tables import print_statistics
from mmpnet.console.progress import progress_bar
from mmpnet.datasets.statistics import DatasetStatistics
from mmpnet.system.progress import Step
from mmpnet.train.engine.callbacks import BatchProgress, EpochResult, TrainingCallbacks
from mmpnet.train.run.anchor_fit import Coverage
from mmpnet.train.run.callbacks import RunCallbacks


class RunDisplay:
    """Shows a run on a console; `callbacks` are what the run calls."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._images_per_s = 0.0
        self._batch_done_s = 0.0

    def callbacks(self) -> RunCallbacks:
        """Return the methods of this object as the callbacks of a run."""
        return RunCallbacks(
            notice=self._console.print,
            data_read=self._show_scan,
            anchors_covered=self._show_coverage,
            training=TrainingCallbacks(
                started=self._start,
                batch_done=self._batch,
                epoch_done=self._epoch,
                ended=self._end,
                progress=self._progress_of,
            ),
        )

    def _show_scan(self, found: DatasetStatistics) -> None:
        print_statistics(self._console, found)

    def _show_coverage(self, rows: Sequence[Coverage]) -> None:
        self._console.print(coverage_table(rows))

    def _start(self, epochs: int, batches_per_epoch: int, done: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console)
        self._epochs = epochs
        label = self._label(min(done // batches_per_epoch + 1, epochs))
        self._task = self._bar.add_task(label, total=epochs * batches_per_epoch, completed=done, status="")
        self._batch_done_s = time.monotonic()
        self._bar.start()

    def _batch(self, batch: BatchProgress) -> None:
        now_s = time.monotonic()
        speed = batch.images / max(now_s - self._batch_done_s, 1e-6)
        self._batch_done_s = now_s
        self._images_per_s = speed if not self._images_per_s else 0.9 * self._images_per_s + 0.1 * speed
        losses = f"cls {batch.classification_loss:.3f} box {batch.box_loss:.3f}"
        if self._bar is not None:
            self._bar.update(
                self._task,
                advance=1,
                description=self._label(batch.epoch),
                status=f"{losses} lr {batch.learning_rate:.1e} {self._images_per_s:.1f} img/s",
            )

    def _epoch(self, result: EpochResult) -> None:
        self._batch_done_s = time.monotonic()
        line = (
            f"{self._label(result.epoch)}  cls {result.classification_loss:.4f}  box {result.box_loss:.4f}  "
            f"{self._images_per_s:.1f} img/s  {result.seconds:.0f} s"
        )
        if result.evaluation is not None:
            line += f"  AP {result.evaluation.ap():.4f}  AP50 {result.evaluation.ap('AP50'):.4f}"
        self._console.print(line + ("  best" if result.is_best else ""))

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _progress_of(self, steps: Sequence[Step], description: str, /) -> Iterable[Step]:
        """Return progress of the steps: below the bar of the run while there is one, because a console has one live
        part."""
        if self._bar is None:
            yield from progress_bar(steps, description)
            return
        task = self._bar.add_task(escape(description), total=len(steps), status="")
        for step in steps:
            yield step
            self._bar.advance(task)
        self._bar.remove_task(task)

    def _label(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._epochs}"


def coverage_table(rows: Iterable[Coverage]) -> Table:
    """Return a table of how well anchors cover boxes, with one row for each size range."""
    title = "anchors on these boxes"
    table = Table("object size", "boxes", "mean best IoU", "best possible recall", "anchor shared", title=title)
    for row in rows:
        numbers = [f"{row.mean_best_iou:.2f}", f"{row.best_possible_recall:.1%}", f"{row.shared:.1%}"]
        table.add_row(row.name, str(row.boxes), *(numbers if row.boxes else ["-"] * 3))
    return table
