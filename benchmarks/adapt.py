"""What mmp-adapt gains on one fixed view: the shipped model, after N labeled images, and after teachers alone.

The view is one `source` of a COCO JSON. Images of some of its groups are learned, those of others are held out: other
days or hours of the same camera. All models are measured on the held-out labels of people.
"""

import os
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.adapt.adapt import adapt
from mmpnet.adapt.image_files import write_images
from mmpnet.adapt.plan import AdaptOptions
from mmpnet.collect.records import LABELS, CollectedImage, journal_of
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.results import PartResult
from mmpnet.system.machine import cpu_name
from mmpnet.train.measure import validate
from mmpnet.train.run.callbacks import RunCallbacks

NUMBERS = ("AP50", "AP")

app = script_app()


@app.command()
def adapt_view(
    data: Annotated[Path, typer.Option(help="COCO JSON with the view.")],
    source: Annotated[str, typer.Option(help="Source of the view's images in it.")],
    learn: Annotated[list[str], typer.Option(help="Group to learn from, also as a pattern with *; may be repeated.")],
    hold_out: Annotated[list[str], typer.Option(help="Group to measure, likewise.")],
    out: Annotated[Path, typer.Option(help="Folder for the work of every variant.")],
    labels: Annotated[list[int] | None, typer.Option(help="Number of labeled images; may be repeated.")] = None,
    teacher: Annotated[list[Path] | None, typer.Option(help="Teachers of the variant without labels.")] = None,
    general: Annotated[
        list[Path] | None,
        typer.Option(help="General images: COCO JSON, or a folder with splits. Those of the view are left out."),
    ] = None,
    model: Annotated[str, typer.Option(help="The model to beat.")] = "person-224-int8",
    weights: Annotated[str, typer.Option(help="Where training starts, as --weights of mmp-adapt.")] = "default",
    minutes: Annotated[float, typer.Option(min=0.01, help="For each variant.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Adapt a model to one view in several ways, and measure each."""
    with exit_on_error():
        out.mkdir(parents=True, exist_ok=True)
        view = load_dataset([data], "train", ["person"])
        learned = _of(view, source, learn)
        held_out = _written(out / "held-out.json", _of(view, source, hold_out), view)
        elsewhere = _general(general or (), source, out)
        rows: dict[str, dict[str, Any]] = {"shipped": {**_numbers(validate(model, held_out)), "minutes": 0.0}}
        variants = {f"{count} labels": learned[:count] for count in labels or ()}
        variants |= {"teachers only": learned} if teacher else {}
        for name, images in variants.items():
            work = out / name.replace(" ", "-")
            by_teachers = name == "teachers only"
            chosen = (
                _collected(work, images, view) if by_teachers else _written(work.with_suffix(".json"), images, view)
            )
            options = AdaptOptions(
                data=(chosen,),
                teachers=tuple(teacher or ()) if by_teachers else (),
                held_out=(held_out,),
                general=elsewhere,
                model=model,
                weights=weights,
                minutes=minutes,
            )
            rows[name] = _row(options, work, held_out)
        show(_table(rows))
        if as_json:
            facts = {"model": model, "source": source, "learned": learn, "held_out": hold_out, "cpu": cpu_name()}
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            write_json({**facts, "load": load, "minutes_each": minutes, "variants": rows})


def _row(options: AdaptOptions, work: Path, held_out: Path) -> dict[str, Any]:
    began_s = time.monotonic()
    proof = adapt(
        options,
        work.with_suffix(".onnx"),
        work,
        callbacks=RunCallbacks(),
        notice=lambda line: show(f"{work.name}: {line}"),
        progress=progress_bar,
    )
    minutes = (time.monotonic() - began_s) / 60
    elsewhere: dict[str, Any] = {}
    if proof.general is not None:
        before, after = proof.general.old, proof.general.new
        elsewhere = {"general_AP50": [before.AP50, after.AP50], "general_AP": [before.AP, after.AP]}
    numbers = _numbers(validate(work / "candidate.onnx", held_out))
    return {**numbers, **elsewhere, "verdict": proof.verdict, "minutes": round(minutes, 1)}


def _of(view: Dataset, source: str, groups: list[str]) -> tuple[LabeledImage, ...]:
    found = tuple(image for image in view.images if image.source == source and _matches(image, groups))
    if not found:
        raise DatasetError(f"{view.path}: has no image of source {source} and a group of {', '.join(groups)}")
    return found


def _matches(image: LabeledImage, patterns: list[str]) -> bool:
    return any(fnmatch(tag, pattern) for tag in image.tags for pattern in patterns)


def _written(path: Path, images: tuple[LabeledImage, ...], view: Dataset) -> Path:
    write_images(path, images, view.class_names, group="camera")
    return path


def _collected(work: Path, images: tuple[LabeledImage, ...], view: Dataset) -> Path:
    """The images as mmp-collect leaves them: their labels are not those of people."""
    folder = work.with_name(f"{work.name}-collected")
    _written(folder / LABELS, images, view)
    lines = [
        CollectedImage(one.path.name, "view", "2026-01-01T00:00:00Z", 0.0, one.image_hw[1], one.image_hw[0], (), ())
        for one in images
    ]
    journal_of(folder).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return folder


def _general(paths: list[Path] | tuple[()], source: str, out: Path) -> tuple[Path, ...]:
    """The general images without those of the view; a folder with a val split stays one."""
    written = []
    for number, path in enumerate(paths):
        splits: tuple[Split, ...] = ("train", "val") if path.is_dir() and has_split(path, "val") else ("train",)
        for split in splits:
            dataset = load_dataset([path], split, ["person"])
            others = tuple(image for image in dataset.images if image.source != source)
            target = _written(out / f"general-{number}" / f"{split}.json", others, dataset)
        written.append(target.parent if len(splits) > 1 else target)
    return tuple(written)


def _numbers(found: PartResult) -> dict[str, Any]:
    intervals = {name: found.interval(name) for name in NUMBERS}
    return {
        name: {
            "value": found.evaluation.coco[name],
            "interval": None if around is None else [around.low, around.high],
        }
        for name, around in intervals.items()
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("", *(f"{name} (95 %)" for name in NUMBERS), "AP50 elsewhere", "minutes", box=None)
    for name, row in rows.items():
        cells = []
        for number in NUMBERS:
            around = row[number]["interval"]
            shown = "" if around is None else f" ({around[0]:.3f}-{around[1]:.3f})"
            cells.append(f"{row[number]['value'] or 0:.3f}{shown}")
        before_after = row.get("general_AP50")
        cells.append("" if before_after is None else f"{before_after[0]:.3f} -> {before_after[1]:.3f}")
        table.add_row(name, *cells, f"{row['minutes']:g}")
    return table


if __name__ == "__main__":
    app()
