"""Negative mining, after the MMP exercises: the same network with random, hard and no negative mining.

224 px, class logits only on a 28x28 grid, SGD with momentum, 2 negatives per positive; after every epoch the quasi IoU
on the validation images. Published after 50 epochs: 0.01275 with random mining, 0.0000 without. Every epoch leaves a
checkpoint to resume from. Needs mmpnet[train].
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from anchor_logits import ANCHORS, INPUT_HW, load_images
from exercise_record import RESULTS, plot, record
from mining_variant import (
    LEARNING_RATE,
    MOMENTUM,
    NEG_RATIO,
    WEIGHT_DECAY,
    Course,
    Trainee,
    restore,
    save,
    start_trainee,
    train_epoch,
)
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.malloc import keep_freed_memory

VARIANTS = ("random", "hard", "none")
PUBLISHED = {"random": 0.01275, "none": 0.0}
"""Quasi IoU after 50 epochs that the course published, on its own images."""

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def negative_mining(
    data: Annotated[Path, typer.Option(help="COCO folder with train.json and val.json.")],
    weights: Annotated[str, typer.Option(help="Backbone: `imagenet`, a state dict FILE, or `none`.")] = "imagenet",
    epochs: Annotated[int, typer.Option(min=1)] = 50,
    variants: Annotated[str, typer.Option(help="Any of random, hard and none, separated by commas.")] = ",".join(
        VARIANTS
    ),
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each split, evenly spaced.")
    ] = None,
    batch: Annotated[int, typer.Option(min=2)] = 16,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option()] = "auto",
    run: Annotated[Path, typer.Option(help="Folder for the checkpoints.")] = Path("runs/exercises/negative_mining"),
    results: Annotated[Path, typer.Option(help="Folder for the plot and the JSON.")] = RESULTS,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the step of the network with torch.compile.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume after the last finished epoch in --run.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Train the variants, epoch by epoch in turn, and plot their quasi IoU."""
    with exit_on_error():
        chosen = _checked_variants(variants)
        where = resolve_device(device)
        if where.type == "cpu":
            keep_freed_memory()
        train, val = (evenly_spaced(open_dataset(data, split), limit) for split in ("train", "val"))
        settings = {
            "train_sha256": train.sha256,
            "train_images": len(train.images),
            "val_sha256": val.sha256,
            "val_images": len(val.images),
            "weights": Path(weights).name,
            "batch": batch,
            "seed": seed,
        }
        trainees = [
            start_trainee(variant, len(train.class_names), weights, where, seed, compiled=compiled)
            for variant in chosen
        ]
        for trainee in trainees:
            restore(run / f"{trainee.variant}.pth", trainee, settings, resume=resume)
        course = Course(load_images(train.images), val, train.class_names, batch, seed, where)
        kept = _curves_before(results / "negative_mining.json", settings, chosen)
        document = report(trainees, settings, epochs, kept)
        for epoch in range(epochs):
            for trainee in (t for t in trainees if len(t.curve) == epoch):
                trainee.curve.append(train_epoch(trainee, course, epoch))
                save(run / f"{trainee.variant}.pth", trainee, settings)
                document = write_results(results, report(trainees, settings, epochs, kept))
                console().print(_line(trainee, epochs))
        document = write_results(results, document)
        if as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")


def write_results(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write the JSON, with the name of this machine, and the plot."""
    document = record(folder / "negative_mining.json", result)
    _draw(folder / "negative_mining.png", document["curves"])
    return document


def _curves_before(path: Path, settings: dict[str, Any], chosen: list[str]) -> dict[str, list[dict[str, float]]]:
    """Read the curves of variants that this call does not train, from an earlier call with the same settings."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text())
    same = before["settings"] == settings
    return {name: curve for name, curve in before["curves"].items() if same and name not in chosen}


def report(
    trainees: list[Trainee],
    settings: dict[str, Any],
    epochs: int,
    kept: dict[str, list[dict[str, float]]] | None = None,
) -> dict[str, Any]:
    """Return the result so far; `kept` are curves of an earlier call."""
    curves = {**(kept or {}), **{trainee.variant: trainee.curve for trainee in trainees}}
    curves = {name: curves[name] for name in VARIANTS if name in curves}
    return {
        "exercise": "negative mining",
        "input_hw": list(INPUT_HW),
        "anchors": dataclasses.asdict(ANCHORS),
        "optimizer": {"name": "SGD", "lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY},
        "neg_ratio": NEG_RATIO,
        "epochs": epochs,
        "settings": settings,
        "published_quasi_iou": PUBLISHED,
        "quasi_iou": {name: curve[-1]["quasi_iou"] if curve else None for name, curve in curves.items()},
        "curves": curves,
    }


def _checked_variants(text: str) -> list[str]:
    chosen = text.split(",")
    if not set(chosen) <= set(VARIANTS) or len(set(chosen)) != len(chosen):
        raise typer.BadParameter(f"--variants {text!r}: expected any of {', '.join(VARIANTS)}, with commas")
    return chosen


def _line(trainee: Trainee, epochs: int) -> str:
    last = trainee.curve[-1]
    measured = f"loss {last['loss']:.4f}  quasi IoU {last['quasi_iou']:.5f}"
    return f"{trainee.variant} epoch {last['epoch']}/{epochs}  {measured}  {last['train_s'] + last['evaluate_s']:.0f} s"


def _draw(path: Path, curves: dict[str, list[dict[str, float]]]) -> None:
    with plot(path) as axes:
        for variant, curve in curves.items():
            epochs = [point["epoch"] for point in curve]
            axes.plot(epochs, [point["quasi_iou"] for point in curve], ".-", label=variant)
        axes.axhline(PUBLISHED["random"], color="gray", linestyle="--", label="published, random, 50 epochs")
        axes.set_xlabel("epoch")
        axes.set_ylabel("quasi IoU on the validation images")
        axes.grid(alpha=0.3)
        axes.legend()


if __name__ == "__main__":
    app()
