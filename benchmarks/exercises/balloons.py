"""Balloons: teach the shipped person model a new class with 61 images, and measure it on 13.

The dataset is that of Matterport's Mask R-CNN example, with its own split. The network keeps everything that it knows
of persons except its last layer, which starts at random for the class `balloon`. One command trains, evaluates, and
writes a page and an image of detections into the run's folder; called again, it continues an interrupted run. Needs
mmpnet[train].
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from exercise_record import RESULTS, record
from fine_tuning import (
    DETECTIONS,
    RECIPE,
    BatchSize,
    Device,
    Epochs,
    Json,
    ResultsFolder,
    RunFolder,
    Seed,
    SidePx,
    StartWeights,
    fine_tune,
)
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.train.run.html_report import REPORT

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def balloons(
    data: Annotated[Path, typer.Option(help="The balloons as COCO JSON or with VIA's regions: train and val.")],
    epochs: Epochs = RECIPE["epochs"],
    side_px: SidePx = RECIPE["input_hw"][0],
    batch: BatchSize = RECIPE["batch"],
    seed: Seed = 0,
    weights: StartWeights = RECIPE["weights"],
    device: Device = "auto",
    run: RunFolder = Path("runs/exercises/balloons"),
    results: ResultsFolder = RESULTS,
    as_json: Json = False,
) -> None:
    """Fine-tune on the new class, and report box AP and AP50 on the val split."""
    with exit_on_error():
        options = {
            "epochs": epochs,
            "input_hw": (side_px, side_px),
            "batch": batch,
            "seed": seed,
            "weights": weights,
            "device": device,
        }
        tuned = fine_tune(data, run, options)
        document = record(results / "balloons.json", {"exercise": "balloons", **tuned.facts()})
        console().print(f"AP {tuned.evaluation.ap():.3f}, AP50 {tuned.evaluation.ap('AP50'):.3f}")
        console().print(f"saved {run / REPORT} and {run / DETECTIONS}")
        if as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    app()
