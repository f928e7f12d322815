"""What the class `person` loses when a class is added: its accuracy before and after a short fine-tuning.

The rows of the last layer are moved by class name, so training starts with a person detector that does not know the new
class yet. Images of the new class show people without labels; the shipped model labels them, as a teacher.
"""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.adapt.blend import weights_before
from mmpnet.adapt.image_files import spread, write_images
from mmpnet.datasets.load import load_dataset
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.machine import cpu_name
from mmpnet.train import train, validate
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

PERSON = "person"

app = script_app()


@app.command()
def add_class(
    data: Annotated[Path, typer.Option(help="Images with people: what the model must not forget.")],
    new: Annotated[Path, typer.Option(help="Images of the new class, with a train and a val split.")],
    name: Annotated[str, typer.Option(help="The new class in --new.")],
    measure: Annotated[Path, typer.Option(help="Other images with people, on which AP of `person` is measured.")],
    out: Annotated[Path, typer.Option(help="Folder for the run; must not have one yet.")],
    images: Annotated[int, typer.Option(min=1, help="At most this number of images of --data are learned.")] = 240,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    imgsz: Annotated[int, typer.Option(min=32)] = 224,
    weights: Annotated[str, typer.Option(help="Where training starts, as --weights of mmp-train.")] = "default",
    teacher: Annotated[str, typer.Option(help="Labels people in the images of the new class.")] = "person-320-int8",
    as_json: Json = False,
) -> None:
    """Add a class to the shipped model, and measure `person` before and after, and the new class."""
    with exit_on_error():
        began_s = time.monotonic()
        people = load_dataset([data], "train", [PERSON])
        write_images(out / "people.json", spread(people.images, images), people.class_names, group="people")
        best = train(
            (out / "people.json", new),
            val=(),
            folder=out / "run",
            classes=(PERSON, name),
            weights=weights,
            teachers=(str(model_path(teacher)),),
            input_hw=(imgsz, imgsz),
            epochs=epochs,
            eval_every=epochs,
            batch=16,
            lr=5e-4,
            backbone_lr=1e-4,
            warmup_steps=20,
            ema_decay=0.98,
            mosaic=0.3,
            mosaic_until=1.0,
            workers=0,
            device="cpu",
            notice=show,
        )
        minutes = (time.monotonic() - began_s) / 60
        checkpoint = load_checkpoint(best.with_name("last.pth"))
        before = out / "before.pth"
        start = weights_before(checkpoint)
        save_checkpoint(before, Checkpoint(checkpoint.model, checkpoint.train, checkpoint.provenance, start, None))
        rows = {
            "before": _row(before, measure, new, name),
            "after": _row(best.with_name("last.pth"), measure, new, name),
        }
        show(_table(rows, name))
        if as_json:
            facts = {"class": name, "images": len(people.images), "learned_people": min(images, len(people.images))}
            machine = {"cpu": cpu_name(), "load": os.getloadavg()[0], "minutes": round(minutes, 1)}
            write_json({**facts, "epochs": epochs, "imgsz": imgsz, **machine, "rows": rows})


def _row(model: Path, measure: Path, new: Path, name: str) -> dict[str, Any]:
    """AP50 and AP of each class with the 95 % interval of AP, on images of its own."""
    return {PERSON: _numbers(model, measure, PERSON), name: _numbers(model, new, name)}


def _numbers(model: Path, data: Path, class_name: str) -> dict[str, Any]:
    found = validate(model, data, classes=[class_name])
    around = found.interval("AP")
    numbers = {name: found.evaluation.ap(name) for name in ("AP50", "AP")}
    interval = None if around is None else [around.low, around.high]
    return {**numbers, "interval": interval, "n_images": found.evaluation.n_images, "n_boxes": found.evaluation.n_boxes}


def _table(rows: dict[str, dict[str, Any]], name: str) -> Table:
    table = Table("", f"{PERSON}, AP50 / AP", f"{name}, AP50 / AP", box=None)
    for when, row in rows.items():
        table.add_row(when, *(f"{row[one]['AP50']:.3f} / {row[one]['AP']:.3f}" for one in (PERSON, name)))
    return table


if __name__ == "__main__":
    app()
