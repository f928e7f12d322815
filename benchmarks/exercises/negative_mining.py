"""Negative mining, after the MMP exercises: the same network with random, hard and no negative mining.

224 px, class logits only on a 28x28 grid, SGD with momentum, 2 negatives per positive; after every epoch the quasi IoU
on the validation pictures. Published after 50 epochs: 0.01275 with random mining, 0.0000 without. Every epoch leaves a
checkpoint to resume from. Needs mmpnet[train].
"""

import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from anchor_logits import ANCHORS, INPUT_HW, AutocastNet, ImagesInMemory, anchor_detector, load_images
from exercise_record import RESULTS, make_folder, plot, record
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import CheckpointError, TrainingError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.system.files import atomic_write, is_file
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.malloc import keep_freed_memory
from mmpnet.train.loading.sampling import generator
from mmpnet.train.mining import hard_negatives
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalization
from mmpnet.train.network.weights import load_weights
from mmpnet.train.step import step, update

VARIANTS = ("random", "hard", "none")
NEG_RATIO = 2.0
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
PUBLISHED = {"random": 0.01275, "none": 0.0}
"""Quasi IoU after 50 epochs, as the course published it; on its own pictures."""

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@dataclass(slots=True)
class Trainee:
    """One variant's network, its optimizer and its curve: one entry per finished epoch."""

    variant: str
    network: MmpNet
    forward: nn.Module
    optimizer: torch.optim.SGD
    curve: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Course:
    """What all variants share: the pictures, the order they are shown in, the device."""

    train: ImagesInMemory
    val: Dataset
    class_names: tuple[str, ...]
    batch: int
    seed: int
    device: torch.device


@app.command()
def negative_mining(
    data: Annotated[Path, typer.Option(help="COCO folder with train.json and val.json.")],
    weights: Annotated[str, typer.Option(help="Backbone: `imagenet`, a state dict FILE, or `none`.")] = "imagenet",
    epochs: Annotated[int, typer.Option(min=1)] = 50,
    variants: Annotated[str, typer.Option(help="Any of random, hard and none, with commas.")] = ",".join(VARIANTS),
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pictures of each split: a trial.")] = None,
    batch: Annotated[int, typer.Option(min=2)] = 16,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option()] = "auto",
    run: Annotated[Path, typer.Option(help="Folder for the checkpoints.")] = Path("runs/exercises/negative_mining"),
    results: Annotated[Path, typer.Option(help="Folder for the plot and the JSON.")] = RESULTS,
    compiled: Annotated[bool, typer.Option("--compile", help="Fuse the network's step with torch.compile.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch in --run.")] = False,
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
            _enter_run(run / f"{trainee.variant}.pth", trainee, settings, resume=resume)
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
    """The JSON, with this machine's name, and the plot."""
    document = record(folder / "negative_mining.json", result)
    _draw(folder / "negative_mining.png", document["curves"])
    return document


def start_trainee(
    variant: str, num_classes: int, weights: str, device: torch.device, seed: int, *, compiled: bool = False
) -> Trainee:
    """A seeded network of the exercise's shape with its backbone weights, and plain SGD over all of it.

    Raises: CheckpointError for bad weights.
    """
    torch.manual_seed(seed)
    network = MmpNet(
        ANCHORS.num_sizes, ANCHORS.num_aspect_ratios, num_classes=num_classes, box_regression=False, stride=8
    )
    load_weights(network, weights)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    forward = AutocastNet(network, device)
    compiled_forward = cast(nn.Module, torch.compile(forward)) if compiled else forward
    return Trainee(variant, network, compiled_forward, optimizer, [])


def train_epoch(trainee: Trainee, course: Course, epoch: int) -> dict[str, float]:
    """One epoch and its evaluation: the entry of the curve."""
    started = time.monotonic()
    enter_training_mode(trainee.network, freeze=0)
    normalize = InputNormalization().to(course.device)
    batches = course.train.batches(batch=course.batch, seed=course.seed, epoch=epoch)
    losses = []
    total = course.train.batches_per_epoch(course.batch)
    bar = track(batches, f"{trainee.variant} {epoch + 1}", total, console=console(), transient=True)
    for number, (images_bgr, labels) in enumerate(bar):
        draw = torch.Generator().manual_seed(int(generator(course.seed, 1, epoch, number).integers(2**62)))
        images = normalize(images_bgr.to(course.device))
        losses.append(one_step(trainee, images, labels.to(course.device).long(), draw))
    trained = time.monotonic()
    found = evaluate(anchor_detector(trainee.network, course.device), course.val, course.class_names)
    return {
        "epoch": epoch + 1,
        "loss": sum(losses) / len(losses),
        "quasi_iou": found.quasi_iou,
        "train_s": round(trained - started, 1),
        "evaluate_s": round(time.monotonic() - trained, 1),
    }


def one_step(trainee: Trainee, images: Tensor, labels: Tensor, draw: torch.Generator) -> float:
    """One update on a batch with the variant's negatives; its loss."""
    if trainee.variant == "hard":
        cross_entropy = functional.cross_entropy(trainee.forward(images), labels, reduction="none")
        picked = hard_negatives(cross_entropy, labels, NEG_RATIO).bool()
        return update(trainee.optimizer, cross_entropy[picked].mean())
    neg_ratio = NEG_RATIO if trainee.variant == "random" else None
    return step(
        trainee.forward, nn.CrossEntropyLoss(), trainee.optimizer, images, labels, neg_ratio=neg_ratio, generator=draw
    )


def save(path: Path, trainee: Trainee, settings: dict[str, Any]) -> None:
    """Everything that the next epoch needs, written beside and renamed.

    Raises: OutputError if it cannot be written.
    """
    content = {
        "settings": settings,
        "network": trainee.network.state_dict(),
        "optimizer": trainee.optimizer.state_dict(),
        "curve": trainee.curve,
    }
    with atomic_write(path) as partial:
        torch.save(content, partial)


def _enter_run(path: Path, trainee: Trainee, settings: dict[str, Any], *, resume: bool) -> None:
    """Restore a variant from its checkpoint, where it has one and that was asked for."""
    make_folder(path.parent)
    if not is_file(path):
        return
    if not resume:
        raise TrainingError(f"{path}: exists; go on with --resume, or choose another --run")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        then = content["settings"]
        if then == settings:
            trainee.network.load_state_dict(content["network"])
            trainee.optimizer.load_state_dict(content["optimizer"])
            trainee.curve = list(content["curve"])
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path}: is no checkpoint of this exercise ({reason}); choose another --run") from error
    changed = [
        f"{name} was {then.get(name)}, is {value}" for name, value in settings.items() if then.get(name) != value
    ]
    if changed:
        raise TrainingError(f"{path}: cannot be resumed: {'; '.join(changed)}; choose another --run")


def _curves_before(path: Path, settings: dict[str, Any], chosen: list[str]) -> dict[str, list[dict[str, float]]]:
    """Curves of the variants that this call leaves alone, where an earlier one drew them with the same settings."""
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
    """The result as it stands; `kept` are curves that are not this call's."""
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
        axes.set_ylabel("quasi IoU on the validation pictures")
        axes.grid(alpha=0.3)
        axes.legend()


if __name__ == "__main__":
    app()
