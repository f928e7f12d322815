"""Fine-tuning of a model on a small dataset: train, evaluate, and show what the weights find.

The val split chooses nothing: training runs without a validation set, and the last (averaged) weights are measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from exercise_record import make_folder
from mmpnet.console.command import console
from mmpnet.console.progress import progress_bar
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import Evaluation, evaluate
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.evaluation.report.contact_sheet import comparison
from mmpnet.evaluation.report.inputs import Measured
from mmpnet.evaluation.report.report import write_report
from mmpnet.media.images import write_image
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint
from mmpnet.train.artifacts.config import config_of
from mmpnet.train.cli.run_display import RunDisplay
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.run_writer import BEST, LAST, RESULTS
from mmpnet.train.network.torch_detector import torch_detector
from mmpnet.train.run.html_report import REPORT, checkpoint_subject, read_history
from mmpnet.train.run.start import resume_run, start_run

RECIPE: dict[str, Any] = {
    "weights": "default",
    "input_hw": (416, 416),
    "batch": 16,
    "lr": 1e-3,
    "backbone_lr": 2e-4,
    "ema_decay": 0.98,
    "epochs": 60,
    "warmup_steps": 30,
    "mosaic": 0.3,
    "mosaic_until": 0.7,
}
"""Options of mmpnet.train that differ from its defaults: the person model that ships, few steps, larger images."""
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training images.")]
SidePx = Annotated[int, typer.Option("--imgsz", min=32, help="Input side in px.")]
BatchSize = Annotated[int, typer.Option("--batch", min=2, help="Images per step.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the run.")]
StartWeights = Annotated[str, typer.Option("--weights", help="Weights to start from, as mmp-train takes them.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RunFolder = Annotated[Path, typer.Option(help="Folder of the run, the page and the image.")]
ResultsFolder = Annotated[Path, typer.Option(help="Folder for the JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DETECTIONS = "detections.jpg"
SHOWN_IMAGES, COLUMNS, TILE_PX = 12, 4, 320
GRAY = 110


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A finished run: its checkpoint, and what its weights find on the val split."""

    checkpoint: Checkpoint
    train: Dataset
    val: Dataset
    evaluation: Evaluation

    def facts(self) -> dict[str, Any]:
        """Accuracy and origin of the weights, for the JSON document."""
        provenance = self.checkpoint.provenance
        options = self.checkpoint.train.options()
        recipe = {name: options[name] for name in (*RECIPE, "seed")}
        return {
            **self.evaluation.as_dict(),
            "protocol": EVALUATION_PROTOCOL,
            "parameters": sum(weight.numel() for weight in self.checkpoint.network().parameters()),
            "training": {**recipe, "weights": Path(recipe["weights"]).name, "commit": provenance.git_commit},
            "train_images": len(self.train.images),
            "train_sha256": self.train.sha256,
            "val_sha256": self.val.sha256,
        }


def fine_tune(data: Path, run: Path, options: Mapping[str, Any]) -> FineTuned:
    """Train in the folder `run` on the train split of `data`, and evaluate on its val split.

    An interrupted run is resumed, a complete one is only evaluated. `options` change RECIPE. Writes report.html and
    detections.jpg into `run`.

    Raises: an MmpnetError child for bad data, weights or device, or if the run learned from other images.
    """
    train, val = (open_dataset(data, split) for split in ("train", "val"))
    _train_to_end(run, {**RECIPE, **options, "train": (str(train.path),)})
    checkpoint = load_checkpoint(run / BEST)
    if checkpoint.provenance.train_sha256 != train.sha256:
        raise TrainingError(f"{run}: learned from other images than {train.path}; choose another --run")
    device = resolve_device(checkpoint.train.run.device)
    network = checkpoint.network().to(device)
    detect = torch_detector(network, checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=device)
    names = checkpoint.model.class_names
    evaluation = evaluate(detect, val, names, progress=lambda images: iter(progress_bar(images, "evaluating")))
    measured = Measured(val, evaluation, EVALUATION_PROTOCOL)
    subject = checkpoint_subject(run / BEST, checkpoint)
    write_report(run / REPORT, subject, measured=measured, history=read_history(run / RESULTS))
    write_image(run / DETECTIONS, detection_sheet(val, evaluation))
    return FineTuned(checkpoint, train, val, evaluation)


def detection_sheet(val: Dataset, evaluation: Evaluation) -> UInt8Array:
    """Draw some images in a grid (H, W, 3), with labels and with detections from the score of the best F1 on.

    Raises: DatasetError for an image that cannot be read.
    """
    count = min(SHOWN_IMAGES, len(val.images))
    chosen = [index * len(val.images) // count for index in range(count)]
    class_ids = [one.class_id for one in evaluation.classes]
    sheet = np.full((math.ceil(count / COLUMNS) * TILE_PX, min(count, COLUMNS) * TILE_PX, 3), GRAY, np.uint8)
    for place, index in enumerate(chosen):
        found, conf = evaluation.found[index], evaluation.best_f1_conf
        tile = comparison(val.images[index], found, class_ids, conf=conf, side_px=TILE_PX)
        y, x = place // COLUMNS * TILE_PX, place % COLUMNS * TILE_PX
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _train_to_end(run: Path, options: Mapping[str, Any]) -> None:
    """Start the run, resume it where an earlier call stopped, or leave it where it is complete."""
    callbacks = RunDisplay(console()).callbacks()
    last = run / LAST
    if not is_file(last):
        make_folder(run.parent)
        start_run(config_of(options), run, callbacks=callbacks)
        return
    checkpoint = load_checkpoint(last)
    if checkpoint.progress is not None and checkpoint.progress.epoch < checkpoint.train.schedule.epochs:
        resume_run(last, callbacks=callbacks)
    else:
        console().print(f"{run}: training is complete; for another training choose another --run")
