"""The accuracy of several models on several labeled datasets, by mmp-val's evaluator.

COCO's average precisions and recall, the exercise's quasi IoU, and the score threshold with the best F1 (conf 0.001,
NMS 0.5, 100 boxes). Every dataset is reported on its own. --figure draws the precision-recall curves at IoU 0.5. Needs
mmpnet[eval].
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Column, Table

from harness.accuracy import HEADINGS, NUMBERS, ModelAccuracy, model_accuracy, only_wide
from harness.figures import check_figure
from harness.models import files_by_name
from harness.script import FigureFile, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.bench.latency import opencv_threads
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.coco import require_pycocotools
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS

app = script_app()


@app.command()
def accuracy(
    data: Annotated[list[Path], typer.Option(help="Labeled images with a val split. May be repeated.")],
    model: Annotated[
        list[Path] | None, typer.Argument(help="Names or .onnx files; default: the embedded models.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each set, evenly spaced.")
    ] = None,
    wider_than: Annotated[
        float | None, typer.Option(min=0, help="Use only images whose width is more than this times their height.")
    ] = None,
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Measure every model's accuracy on every dataset."""
    with exit_on_error():
        check_figure(figure)
        require_pycocotools()
        paths = files_by_name(model or EMBEDDED_MODELS)
        datasets = [evenly_spaced(only_wide(load_dataset([path], "val"), wider_than), limit) for path in data]
        opencv_threads(threads)
        measured: list[dict[str, ModelAccuracy]] = [{} for _ in datasets]
        for name, path in paths.items():
            with Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu", threads=threads) as detector:
                for dataset, of_set in zip(datasets, measured, strict=True):
                    of_set[name] = model_accuracy(detector, dataset, f"{name} on {dataset.name}")
        sets = [_set_facts(*pair) for pair in zip(datasets, measured, strict=True)]
        for entry in sets:
            show(f"{entry['name']}: {entry['n_images']} images", _table(entry["models"]))
        if figure is not None:
            from harness.accuracy_figure import draw_curves

            draw_curves(figure, datasets, measured)
        if as_json:
            write_json(
                {
                    "protocol": EVALUATION_PROTOCOL,
                    "limit": limit,
                    "wider_than": wider_than,
                    "models": {name: msgspec.to_builtins(model_facts(path)) for name, path in paths.items()},
                    "data": sets,
                    "machine": machine_document(),
                }
            )


def _set_facts(dataset: Dataset, measured: dict[str, ModelAccuracy]) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "n_images": len(dataset.images),
        "models": {name: one.numbers for name, one in measured.items()},
    }


def _table(models: dict[str, dict[str, float | None]]) -> Table:
    columns = (HEADINGS.get(name, name) for name in NUMBERS)
    table = Table(Column("model", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
    for name, facts in models.items():
        values = (facts[number] for number in NUMBERS)
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


if __name__ == "__main__":
    app()
