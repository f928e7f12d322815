"""mmp-val: the same accuracy numbers for a checkpoint and for its exported file."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import MissingExtraError
from mmpnet.runtime.command import HELP_NAMES, checked_classes, checked_thresholds, exit_on_error, people, show_version
from mmpnet.runtime.datasets.check import read_data
from mmpnet.runtime.datasets.types import Picture, Split
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.evaluate import EVALUATION_THRESHOLDS, Detect, Evaluation, evaluate
from mmpnet.runtime.session import Provider

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def val(
    model: Annotated[Path, typer.Argument(help="A checkpoint (.pth) or an exported file (.onnx).")],
    data: Annotated[
        list[Path], typer.Option(help="Folder or file: COCO JSON, YOLO, VOC, ... as in the README. Several are mixed.")
    ],
    split: Annotated[Split, typer.Option(help="Which split of a folder.")] = "val",
    classes: Annotated[
        list[str] | None, typer.Option(help="Only NAME; or NAME=OLD,OLDER: those classes as one. May be repeated.")
    ] = None,
    conf: Annotated[float, typer.Option(min=0, max=1)] = EVALUATION_THRESHOLDS.conf,
    iou: Annotated[float, typer.Option(min=0, max=1, help="NMS threshold.")] = EVALUATION_THRESHOLDS.iou,
    max_det: Annotated[int, typer.Option(min=1)] = EVALUATION_THRESHOLDS.max_det,
    device: Annotated[str, typer.Option(help="For .pth: auto, cpu, cuda or cuda:N.")] = "auto",
    provider: Annotated[Provider, typer.Option(help="For .onnx.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=1024, help="For .onnx: 0 is ONNX Runtime's choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure COCO AP and the exercise's quasi IoU on labelled pictures."""
    with exit_on_error():
        thresholds = checked_thresholds(conf, iou, max_det)
        suffix = model.suffix.lower()
        if suffix not in (".pth", ".onnx"):
            raise typer.BadParameter(f"{model}: expected a checkpoint .pth or an exported .onnx")
        dataset = read_data(data, split, checked_classes(classes))
        if suffix == ".onnx":
            detector = Detector(model, thresholds=thresholds, provider=provider, threads=threads)
            detect: Detect = detector
            class_names: Sequence[str] = detector.class_names
        else:
            detect, class_names = _checkpoint_detector(model, thresholds, device)
        result = evaluate(detect, dataset, class_names, progress=_shown)
        if as_json:
            sys.stdout.write(json.dumps(result.as_dict()) + "\n")
        else:
            people().print(_table(model, dataset.name, result))


def _checkpoint_detector(path: Path, thresholds: Thresholds, device: str) -> tuple[Detect, Sequence[str]]:
    try:
        # Only a checkpoint needs torch: an exported file is evaluated on the device that runs it.
        from mmpnet.train.checkpoint import load_checkpoint
        from mmpnet.train.detector import torch_detector
        from mmpnet.train.device import resolve_device
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: a checkpoint needs torch (missing: {error.name}); pip install 'mmpnet[train]', "
            "or evaluate the exported .onnx"
        ) from error
    where = resolve_device(device)
    checkpoint = load_checkpoint(path)
    network = checkpoint.network().to(where)
    return torch_detector(network, checkpoint.model, thresholds=thresholds, device=where), checkpoint.model.class_names


def _shown(pictures: Sequence[Picture]) -> Iterator[Picture]:
    return iter(track(pictures, description="evaluating", console=people()))


def _table(model: Path, dataset: str, result: Evaluation) -> Table:
    table = Table(title=f"{model.name} on {dataset}: {result.n_images} pictures, {result.n_boxes} boxes")
    table.add_column("number")
    table.add_column("value", justify="right")
    for name, value in result.coco.items():
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    table.add_row("quasi IoU", f"{result.quasi_iou:.4f}")
    return table


def main() -> None:
    """Entry point of mmp-val."""
    app()
