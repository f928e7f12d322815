"""Train for a given time, on a machine that is rented by the minute.

The learning rate falls to zero at the last epoch, so that the number of epochs has to be known at the start. A first
short run on some of the images measures how many images a second this machine learns from; the second run has as many
epochs as fit into the rest of the time.
"""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.contract.errors import DatasetError, MmpnetError, OutputError

STDERR = 2
TRAIN = (sys.executable, "-c", "from mmpnet.train.cli.entry import train; train()")
PROBE_STEPS = 40
"""The first steps are slow, so that fewer would make the machine look slower than it is."""
SHARE = 0.9
"""Share of the remaining time that the epochs may take; evaluation and saving need the rest."""

app = script_app()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train_in_minutes(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder of mmp-train --pack: train.json, val.json.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for everything, in minutes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the checkpoint here.")],
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 32,
    most_epochs: Annotated[int, typer.Option(min=1, help="Not more epochs than this.")] = 300,
    as_json: Json = False,
) -> None:
    """Train for some minutes; further options go to mmp-train."""
    with exit_on_error():
        started_s = time.monotonic()
        if not output.resolve().parent.is_dir():
            raise OutputError(f"{output}: there is no folder {output.parent}; make it first")
        count, probe = _probe_file(data, batch * PROBE_STEPS)
        given = ("--val", str(data / "val.json"), "--batch", str(batch), *context.args)
        runs = output.resolve().parent / f"{output.stem}-runs"
        probed = _train(runs, "probe", ("--data", str(probe), "--epochs", "1", *given))
        images_per_s = min(count, batch * PROBE_STEPS) / float(probed["seconds"])
        left_s = minutes * 60 - (time.monotonic() - started_s)
        epochs = min(most_epochs, int(left_s * SHARE * images_per_s / count))
        if epochs < 1:
            raise OutputError(
                f"--minutes {minutes:g}: this machine learns from {images_per_s:.0f} images/s, and {left_s:.0f} s are "
                f"left for {count} images; give more minutes, or pack fewer images"
            )
        show(f"{images_per_s:.0f} images/s: {epochs} epochs of {count} images")
        options = ("--data", str(data / "train.json"), "--epochs", str(epochs), "--eval-every", str(epochs))
        last = _train(runs, "train", (*options, *given))
        shutil.copyfile(runs / "train" / "last.pth", output)
        seconds = time.monotonic() - started_s
        show(f"{output}: AP50 {float(last['AP50'] or 0):.3f} after {epochs} epochs, {seconds / 60:.1f} minutes in all")
        if as_json:
            accuracy = {name: float(last[name] or 0) for name in ("AP", "AP50")}
            speed = {"images_per_s": images_per_s, "epochs": epochs, "seconds": seconds}
            write_json({"images": count, **speed, **accuracy})


def _probe_file(data: Path, most: int) -> tuple[int, Path]:
    """Write the first images of train.json as a dataset of its own; return how many train.json has, and the file."""
    try:
        content = json.loads((data / "train.json").read_text(encoding="utf-8"))
        images: list[dict[str, Any]] = content["images"]
        chosen = images[:: max(1, len(images) // most)][:most]
        ids = {image["id"] for image in chosen}
        boxes = [one for one in content["annotations"] if one["image_id"] in ids]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{data}: has no COCO train.json ({error}); make it with mmp-train --pack") from error
    path = data / "probe.json"
    path.write_text(json.dumps({**content, "images": chosen, "annotations": boxes}), encoding="utf-8")
    return len(images), path


def _train(runs: Path, name: str, options: tuple[str, ...]) -> dict[str, str]:
    """Run mmp-train; return the last row of its results.csv. Raises: MmpnetError if it fails."""
    shutil.rmtree(runs / name, ignore_errors=True)
    done = subprocess.run([*TRAIN, *options, "--project", str(runs), "--name", name], stdout=STDERR, check=False)
    if done.returncode:
        raise MmpnetError(f"mmp-train ended with exit code {done.returncode}; its message is above")
    with (runs / name / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[-1]


if __name__ == "__main__":
    app()
