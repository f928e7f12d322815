"""What a run leaves in its folder: last.pth, best.pth, results.csv and config.json."""

import csv
import json
from pathlib import Path

import msgspec

from mmpnet.contract.errors import OutputError
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import Evaluation
from mmpnet.system.files import atomic_write
from mmpnet.train.artifacts.checkpoint import Checkpoint, Provenance, save_checkpoint
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.engine.callbacks import EpochResult
from mmpnet.train.engine.state import TrainingState

LAST, BEST, RESULTS, CONFIG = "last.pth", "best.pth", "results.csv", "config.json"
_COLUMNS = ("epoch", "classification_loss", "box_loss", "seconds", *COCO_NUMBERS, "quasi_iou")


class RunWriter:
    """Writes the folder of a run; `writes` is false in all processes but the first one."""

    def __init__(
        self, folder: Path, config: TrainConfig, model: ModelConfig, provenance: Provenance, *, writes: bool = True
    ) -> None:
        self.folder = folder
        self._writes = writes
        self._config = config
        self._model = model
        self._provenance = provenance

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

    def save_last(self, state: TrainingState) -> None:
        """Write last.pth: weights to deploy and everything needed to resume."""
        if self._writes:
            save_checkpoint(self.folder / LAST, self._checkpoint(state, None, resumable=True))

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """Record a finished epoch: best.pth, then results.csv, then last.pth, from which the next epoch can start."""
        if not self._writes:
            return
        if result.is_best:
            save_checkpoint(self.folder / BEST, self._checkpoint(state, result.evaluation, resumable=False))
        accuracy = {} if result.evaluation is None else result.evaluation.as_dict()
        row = {
            "epoch": result.epoch,
            "classification_loss": f"{result.classification_loss:.6f}",
            "box_loss": f"{result.box_loss:.6f}",
            "seconds": f"{result.seconds:.1f}",
            **{name: accuracy.get(name) for name in (*COCO_NUMBERS, "quasi_iou")},
        }
        self._write_rows([*self._rows(), {name: "" if value is None else str(value) for name, value in row.items()}])
        self.save_last(state)

    def _checkpoint(self, state: TrainingState, evaluation: Evaluation | None, *, resumable: bool) -> Checkpoint:
        measured = None if evaluation is None else evaluation.as_dict()
        provenance = msgspec.structs.replace(self._provenance, epochs_done=state.epoch, evaluation=measured)
        return Checkpoint(
            model=self._model,
            train=self._config,
            provenance=provenance,
            ema=state.averaged_network.state_dict(),
            progress=state.progress() if resumable else None,
        )

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
