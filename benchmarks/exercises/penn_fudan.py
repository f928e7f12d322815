"""Penn-Fudan: fine-tune the shipped person model on 120 images of pedestrians, and measure it on 50.

Published box AP / AP50, from torchvision's object-detection tutorial: 0.839 / 0.979 with a Mask R-CNN of 44 million
parameters, 0.806 / 0.975 with a MobileNetV2 backbone. One command trains, evaluates, and writes a page and an image of
detections into the run's folder; called again, it continues an interrupted run. Needs mmpnet[train].
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

PUBLISHED = {"Mask R-CNN": {"AP": 0.839, "AP50": 0.979}, "MobileNetV2": {"AP": 0.806, "AP50": 0.975}}
AIM_AP50 = 0.97

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def penn_fudan(
    data: Annotated[Path, typer.Option(help="Penn-Fudan as COCO JSON: a folder with train.json and val.json.")],
    epochs: Epochs = RECIPE["epochs"],
    side_px: SidePx = RECIPE["input_hw"][0],
    batch: BatchSize = RECIPE["batch"],
    seed: Seed = 0,
    weights: StartWeights = RECIPE["weights"],
    device: Device = "auto",
    run: RunFolder = Path("runs/exercises/penn_fudan"),
    results: ResultsFolder = RESULTS,
    as_json: Json = False,
) -> None:
    """Fine-tune, and report box AP and AP50 on the val split."""
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
        document = {"exercise": "Penn-Fudan", "published": PUBLISHED, "aim_AP50": AIM_AP50, **tuned.facts()}
        document = record(results / "penn_fudan.json", document)
        published = ", ".join(f"{name} {one['AP']} / {one['AP50']}" for name, one in PUBLISHED.items())
        console().print(
            f"AP {tuned.evaluation.ap():.3f}, AP50 {tuned.evaluation.ap('AP50'):.3f}; published {published}"
        )
        console().print(f"saved {run / REPORT} and {run / DETECTIONS}")
        if as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    app()
