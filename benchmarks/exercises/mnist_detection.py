"""MNIST detection, after assignment 4 of TDT4265: make the dataset, train with mmp-train, measure with mmp-val.

Published mAP@0.5 after 15,000 iterations: 0.7576 basic, 0.8524 improved, 0.9052 best. One command does it all and goes
on with what an earlier call left behind. Training never sees the test images: there is no validation set, and the
last weights are measured, not the best. Needs mmpnet[train].
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from exercise_record import RESULTS, make_folder, record
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.media.drawing import draw_detections
from mmpnet.media.images import write_image
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.checkpoint import load_checkpoint, sha256_of
from mnist_digits import read_digits
from mnist_images import write_split

PUBLISHED = {"basic": 0.7576, "improved": 0.8524, "best": 0.9052}
GOAL = 0.92
REQUIRED = ("voc07_AP50", "voc_AP50")
TRAIN = "from mmpnet.train.cli.entry import train; train()"
VAL = "from mmpnet.train.cli.entry import val; val()"

ANCHOR_FLAGS = ("--sizes", "16,28,48,80", "--ratios", "1,1.6,2.6", "--stride", "8", "--imgsz", "304")
"""304 is the multiple of the stride nearest to 300: a 38x38 grid, as SSD300's first."""
NETWORK_FLAGS = ("--width-mult", "0.5", "--channels", "64", "--weights", "none")
RECIPE_FLAGS = ("--batch", "32", "--lr", "2e-3", "--backbone-lr", "2e-3", "--warmup-steps", "200")
AUGMENT_FLAGS = ("--augmentation", "light", "--mosaic", "0")
"""A mirrored digit is not a digit, and a mosaic cuts digits into parts that look like others: half of an 8 is a 3."""

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def mnist_detection(
    mnist: Annotated[Path, typer.Option(help="Folder with MNIST's four idx files, .gz or not.")],
    data: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("runs/exercises/mnist"),
    train_count: Annotated[int, typer.Option(min=1, help="Training images.")] = 10_000,
    test_count: Annotated[int, typer.Option(min=1, help="Test images.")] = 1_000,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    run: Annotated[Path, typer.Option(help="Run folder of mmp-train.")] = Path("runs/exercises/mnist_run"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Loader processes; default: mmp-train's.")] = None,
    train_flag: Annotated[
        list[str] | None, typer.Option(help="A further argument for mmp-train, which overrides these; may be repeated.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder for the sample image and the JSON.")] = RESULTS,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Make the images, train, and write VOC07 and area mAP@0.5 of the test images."""
    with exit_on_error():
        train_json = write_split(data, read_digits(mnist, "train"), split="train", count=train_count, seed=seed)
        test_json = write_split(data, read_digits(mnist, "test"), split="test", count=test_count, seed=seed)
        write_sample(test_json, results / "mnist_sample.png")
        flags = train_flags(train_json, epochs=epochs, seed=seed, extra=train_flag or ())
        machine_flags = ["--device", device, *([] if workers is None else ["--workers", str(workers)])]
        train_to_end(run, flags, machine_flags)
        training = training_record(run / "best.pth", train_json)
        numbers = measured(run / "best.pth", test_json, device)
        result = {
            "exercise": "MNIST detection",
            "published_mAP50": PUBLISHED,
            "goal_mAP50": GOAL,
            **{name: numbers[name] for name in REQUIRED},
            "training": training,
            "train": json.loads(train_json.read_text())["info"],
            "test": json.loads(test_json.read_text())["info"],
            "mmp_val": numbers,
        }
        result = record(results / "mnist_detection.json", result)
        console().print(
            f"mAP@0.5 {numbers['voc07_AP50']:.4f} (VOC07, 11 points), {numbers['voc_AP50']:.4f} (area); "
            f"published: {', '.join(f'{name} {value}' for name, value in PUBLISHED.items())}"
        )
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def train_flags(train_json: Path, *, epochs: int, seed: int, extra: list[str] | tuple[str, ...]) -> list[str]:
    """Return all flags of mmp-train that determine the weights."""
    fixed = [*ANCHOR_FLAGS, *NETWORK_FLAGS, *RECIPE_FLAGS, *AUGMENT_FLAGS]
    return ["--data", str(train_json), "--epochs", str(epochs), "--seed", str(seed), *fixed, *extra]


def train_to_end(run: Path, flags: list[str], machine_flags: list[str]) -> None:
    """Start the run, resume it where an earlier call stopped, or leave it where it is complete.

    Raises: MmpnetError if mmp-train fails; it has printed the reason.
    """
    last = run / "last.pth"
    if is_file(last):
        checkpoint = load_checkpoint(last)
        if checkpoint.progress is not None and checkpoint.progress.epoch >= checkpoint.train.schedule.epochs:
            console().print(f"{run}: trained already; for another training choose another --run")
            return
        command = ["--resume", str(run), *machine_flags]
    else:
        make_folder(run.parent)
        command = [*flags, *machine_flags, "--project", str(run.parent), "--name", run.name]
    console().print(" ".join(["mmp-train", *command]))
    done = call(TRAIN, command)
    if done.returncode == 130:
        raise KeyboardInterrupt("stopped; the same command goes on")
    if done.returncode:
        raise MmpnetError(f"mmp-train ended with exit code {done.returncode}; the line above says why")


def call(script: str, arguments: list[str], *, keep_stdout: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a command of mmpnet as a process, as a user does."""
    stdout = subprocess.PIPE if keep_stdout else None
    return subprocess.run([sys.executable, "-c", script, *arguments], check=False, stdout=stdout, text=True)


def training_record(model: Path, train_json: Path) -> dict[str, Any]:
    """Return how the weights were trained, read from their file: the flags of this call may differ from those of the
    run.

    Raises: MmpnetError if they learned from other images, CheckpointError if the file is bad.
    """
    checkpoint = load_checkpoint(model)
    if checkpoint.provenance.train_sha256 != sha256_of(train_json):
        raise MmpnetError(f"{model}: learned from other images than {train_json}; choose another --run or --data")
    options: dict[str, Any] = msgspec.to_builtins(checkpoint.train.options())
    of_this_machine = {"train", "val", "weights", "device", "workers"}
    kept = {name: value for name, value in options.items() if name not in of_this_machine}
    provenance = checkpoint.provenance
    return {**kept, "weights": Path(options["weights"]).name, "commit": provenance.git_commit}


def measured(model: Path, test_json: Path, device: str) -> dict[str, Any]:
    """Return the numbers of mmp-val for the test images.

    Raises: MmpnetError if mmp-val fails, or does not measure VOC's AP.
    """
    done = call(VAL, [str(model), "--data", str(test_json), "--device", device, "--json"], keep_stdout=True)
    if done.returncode:
        raise MmpnetError(f"mmp-val ended with exit code {done.returncode}; its own line says why")
    numbers: dict[str, Any] = json.loads(done.stdout)
    for name in REQUIRED:
        if numbers.get(name) is None:
            raise MmpnetError(f"mmp-val gives no {name}, which this exercise needs; update mmpnet")
    return numbers


def write_sample(test_json: Path, path: Path) -> None:
    """Write the first test image with its boxes drawn.

    Raises: OutputError if it cannot be written.
    """
    dataset = read_coco(test_json)
    image = dataset.images[0]
    frame_bgr = image.read()
    labeled = Detections(image.boxes_xyxy, np.ones(len(image.boxes_xyxy), np.float32), image.class_ids)
    draw_detections(frame_bgr, labeled, dataset.class_names)
    make_folder(path.parent)
    write_image(path, frame_bgr)


if __name__ == "__main__":
    app()
