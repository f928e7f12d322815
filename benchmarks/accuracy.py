"""How well models find people in labelled pictures: mmp-val's evaluator on several models and data sets in one go.

COCO's average precisions and recall, the exercise's quasi IoU, and the score threshold with the best F1 (conf 0.001,
NMS 0.5, 100 boxes). Every data set is reported on its own. Prints a table on stderr and, with --json, one JSON document
on stdout; --picture draws the precision-recall curves at IoU 0.5. Needs mmpnet[eval].
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from latency import check_picture, machine, named_apart, save_figure
from rich.progress import track
from rich.table import Column, Table

from mmpnet.bench.environment import model_facts
from mmpnet.bench.latency import opencv_threads
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.load import read_data
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.coco import require_pycocotools
from mmpnet.evaluation.curves import RECALL_GRID, Curve, precision_recall
from mmpnet.evaluation.evaluate import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS, MATCH_IOU, Evaluation, evaluate
from mmpnet.evaluation.matching import match_coco, rankings
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "quasi_iou", "best_f1", "best_f1_conf")
SHOWN = {"quasi_iou": "quasi\nIoU", "best_f1": "best\nF1", "best_f1_conf": "from\nscore"}

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on one data set: its numbers, and the precision at RECALL_GRID, IoU 0.5."""

    facts: dict[str, float | int | None]
    precision: Curve


@app.command()
def accuracy(
    data: Annotated[list[Path], typer.Option(help="Labelled pictures with a val split. May be repeated.")],
    model: Annotated[
        list[Path] | None, typer.Argument(help="Names or .onnx files; default: the embedded ones.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many pictures of each set, evenly spaced: a trial.")
    ] = None,
    wider_than: Annotated[
        float | None, typer.Option(min=0, help="Only pictures whose width is more than so many heights.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the precision-recall curves go (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure everybody's accuracy on every data set."""
    with exit_on_error():
        check_picture(picture)
        require_pycocotools()
        paths = named_apart(model or EMBEDDED_MODELS)
        datasets = [evenly_spaced(only_wide(read_data([path], "val"), wider_than), limit) for path in data]
        opencv_threads(threads)
        measured: list[dict[str, Measured]] = [{} for _ in datasets]
        for name, path in paths.items():
            with Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu", threads=threads) as detector:
                for dataset, of_set in zip(datasets, measured, strict=True):
                    of_set[name] = _measure(detector, dataset, f"{name} on {dataset.name}")
        sets = [_set_facts(*pair) for pair in zip(datasets, measured, strict=True)]
        result = {
            "protocol": EVALUATION_PROTOCOL,
            "limit": limit,
            "wider_than": wider_than,
            "models": {name: msgspec.to_builtins(model_facts(path)) for name, path in paths.items()},
            "data": sets,
            "machine": machine(),
        }
        for entry in sets:
            _show(entry)
        if picture is not None:
            _draw(picture, datasets, measured)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def only_wide(dataset: Dataset, wider_than: float | None) -> Dataset:
    """Its pictures whose width is more than so many heights; all for None. Raises: MmpnetError if there is none."""
    if wider_than is None:
        return dataset
    wide = tuple(one for one in dataset.images if one.image_hw[1] > wider_than * one.image_hw[0])
    if not wide:
        raise MmpnetError(f"{dataset.name}: no picture is wider than {wider_than:g} of its height")
    return dataclasses.replace(dataset, images=wide)


def evenly_spaced(dataset: Dataset, limit: int | None) -> Dataset:
    """So many of its pictures, in their order; all for None. Not the first ones: files are often sorted by source."""
    pictures = dataset.images
    if limit is None or limit >= len(pictures):
        return dataset
    return dataclasses.replace(dataset, images=tuple(pictures[n * len(pictures) // limit] for n in range(limit)))


def _measure(detector: Detector, dataset: Dataset, what: str) -> Measured:
    def shown(pictures: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(track(pictures, what, console=console(), transient=True))

    evaluation = evaluate(detector, dataset, detector.class_names, progress=shown)
    return Measured(numbers(evaluation), mean_precision(evaluation, dataset))


def numbers(evaluation: Evaluation) -> dict[str, float | int | None]:
    """NUMBERS, None where there is nothing to measure, and the boxes that were to be found."""
    found = evaluation.as_dict()
    chosen = {name: found[name] for name in NUMBERS}
    return {
        **{name: None if value is None else round(value, 4) for name, value in chosen.items()},
        "n_boxes": evaluation.n_boxes,
    }


def mean_precision(evaluation: Evaluation, dataset: Dataset) -> Curve:
    """The precision at RECALL_GRID and IoU 0.5, mean over the classes that have boxes: AP50 is its mean."""
    pairs = zip(evaluation.found, dataset.images, strict=True)
    matches = [match_coco(found, picture, MATCH_IOU) for found, picture in pairs]
    class_ids = [one.class_id for one in evaluation.classes]
    ranked = [one for one in rankings(matches, dataset.images, class_ids).values() if one.n_boxes]
    mean: Curve = np.mean([precision_recall(one).precision_at(RECALL_GRID) for one in ranked], axis=0)
    return mean


def _set_facts(dataset: Dataset, measured: dict[str, Measured]) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "n_images": len(dataset.images),
        "models": {name: one.facts for name, one in measured.items()},
    }


def _show(entry: dict[str, Any]) -> None:
    columns = (SHOWN.get(name, name) for name in NUMBERS)
    table = Table(Column("model", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
    for name, facts in entry["models"].items():
        values = (facts[number] for number in NUMBERS)
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    console().print(f"{entry['name']}: {entry['n_images']} pictures")
    console().print(table)


def _draw(path: Path, datasets: Sequence[Dataset], measured: Sequence[dict[str, Measured]]) -> None:
    # matplotlib takes its time to load, and only a picture needs it.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    apart = ConstrainedLayoutEngine(wspace=0.04)  # a recall of 1.0 and the next panel's 0.0
    figure = Figure(figsize=(0.6 + 4.6 * len(datasets), 4.6), layout=apart)
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for panel, dataset, models in zip(panels, datasets, measured, strict=True):
        _draw_panel(panel, models)
        panel.set_title(f"{dataset.name}, {len(dataset.images)} pictures", fontsize=10, loc="left")
    panels[0].set_ylabel(f"precision at IoU {MATCH_IOU}")
    save_figure(figure, path)


def _draw_panel(panel: "Axes", models: dict[str, Measured]) -> None:
    from matplotlib import colormaps

    colours = cycle(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    for (name, one), colour in zip(models.items(), colours, strict=False):
        label = f"{name}, AP50 {one.facts['AP50'] or 0:.3f}"
        # Between two recalls the precision is the higher one's.
        panel.plot(RECALL_GRID, one.precision, color=colour, drawstyle="steps-pre", linewidth=1.5, label=label)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("recall")
    panel.grid(alpha=0.25, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    # Below the curves is where a detector worth a picture leaves room.
    panel.legend(loc="lower left", frameon=False, labelcolor="linecolor", handlelength=1.2, fontsize=9)


if __name__ == "__main__":
    app()
