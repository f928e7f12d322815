"""mmp-val: the same accuracy numbers for a checkpoint and for its exported file."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from mmpnet.cli.class_option import checked_classes
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, show_version
from mmpnet.console.threshold_options import overridden
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import MissingExtraError
from mmpnet.datasets.load import read_data
from mmpnet.datasets.types import LabeledImage, Split
from mmpnet.evaluation.error_analysis import find_mistakes
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, Detect, Evaluation, evaluate, protocol
from mmpnet.evaluation.report.contact_sheet import write_sheet
from mmpnet.evaluation.report.inputs import Measured, Subject, exported_subject
from mmpnet.media.images import IMAGE_SUFFIXES
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import OTHER_NAMES, model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.files import check_output
from mmpnet.system.optional_packages import require_report_packages

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)
REPORT_SUFFIXES = (".html", ".htm")


@app.command()
def val(
    model: Annotated[Path, typer.Argument(help=f"A checkpoint .pth, an exported .onnx, {OTHER_NAMES}.")],
    data: Annotated[
        list[Path], typer.Option(help="Folder or file: COCO JSON, YOLO, VOC, ... as in the README. Several are mixed.")
    ],
    split: Annotated[Split, typer.Option(help="Which split of a folder.")] = "val",
    classes: Annotated[
        list[str] | None, typer.Option(help="Only NAME; or NAME=OLD,OLDER: those classes as one. May be repeated.")
    ] = None,
    conf: Annotated[float | None, typer.Option(min=0, max=1, help=f"Default: {EVALUATION_THRESHOLDS.conf:g}.")] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"NMS threshold; default: {EVALUATION_THRESHOLDS.iou:g}.")
    ] = None,
    max_det: Annotated[int | None, typer.Option(min=1, help=f"Default: {EVALUATION_THRESHOLDS.max_det}.")] = None,
    device: Annotated[str | None, typer.Option(help="For .pth: auto, cpu, cuda or cuda:N; default: auto.")] = None,
    provider: Annotated[Provider | None, typer.Option(help="For .onnx; default: auto.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, max=1024, help="For .onnx; default: 0, ONNX Runtime's choice.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture of the worst mistakes, such as mistakes.png.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="One HTML file with numbers, curves, samples and mistakes, such as report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure accuracy on labelled pictures: COCO's and VOC's AP, best F1, quasi IoU; show the mistakes."""
    with exit_on_error():
        thresholds = overridden(EVALUATION_THRESHOLDS, conf, iou, max_det)
        model = model_path(model)
        suffix = model.suffix.lower()
        if suffix not in (".pth", ".onnx"):
            raise typer.BadParameter(f"{model}: expected a checkpoint .pth or an exported .onnx")
        others = {"--provider": provider, "--threads": threads} if suffix == ".pth" else {"--device": device}
        if useless := [flag for flag, value in others.items() if value is not None]:
            raise typer.BadParameter(f"{useless[0]} has no effect on a {suffix} file; leave it out")
        _check_outputs(sheet, report)
        dataset = read_data(data, split, checked_classes(classes))
        if suffix == ".onnx":
            detector = Detector(model, provider=provider or "auto", threads=threads or 0)
            if detector.metadata.frozen and conf is iou is max_det is None:
                thresholds = detector.thresholds
                console().print(f"{model.name}: its thresholds are frozen, so this is {protocol(thresholds)}")
            detector.thresholds = thresholds
            detect: Detect = detector
            class_names: Sequence[str] = detector.class_names
            subject = exported_subject(model, detector.metadata)
        else:
            detect, class_names, subject = _checkpoint_detector(model, thresholds, device or "auto")
        result = evaluate(detect, dataset, class_names, progress=_shown)
        if as_json:
            sys.stdout.write(json.dumps(result.as_dict()) + "\n")
        else:
            console().print(_table(model, dataset.name, result))
        _write_outputs(sheet, report, subject, Measured(dataset, result, protocol(thresholds)))


def _check_outputs(sheet: Path | None, report: Path | None) -> None:
    """What cannot be written is said before the pictures are looked at."""
    if sheet is not None:
        check_output(sheet, IMAGE_SUFFIXES)
    if report is not None:
        check_output(report, REPORT_SUFFIXES)
        require_report_packages()


def _write_outputs(sheet: Path | None, report: Path | None, subject: Subject, measured: Measured) -> None:
    if sheet is not None:
        evaluation = measured.evaluation
        mistakes = find_mistakes(measured.dataset, evaluation, conf=evaluation.best_f1_conf)
        write_sheet(sheet, mistakes, measured.dataset, evaluation)
        console().print(f"saved {sheet}")
    if report is not None:
        # matplotlib takes its time to load, and only a report needs it.
        from mmpnet.evaluation.report.report import write_report

        write_report(report, subject, measured=measured, history=None)
        console().print(f"saved {report}")


def _checkpoint_detector(path: Path, thresholds: Thresholds, device: str) -> tuple[Detect, Sequence[str], Subject]:
    try:
        # Only a checkpoint needs torch: an exported file is evaluated on the device that runs it.
        from mmpnet.train.artifacts.checkpoint import load_checkpoint
        from mmpnet.train.engine.device import resolve_device
        from mmpnet.train.network.torch_detector import torch_detector
        from mmpnet.train.run.html_report import checkpoint_subject
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: a checkpoint needs torch (missing: {error.name}); pip install 'mmpnet[train]', "
            "or evaluate the exported .onnx"
        ) from error
    where = resolve_device(device)
    checkpoint = load_checkpoint(path)
    network = checkpoint.network().to(where)
    detect = torch_detector(network, checkpoint.model, thresholds=thresholds, device=where)
    return detect, checkpoint.model.class_names, checkpoint_subject(path, checkpoint)


def _shown(pictures: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
    return iter(track(pictures, description="evaluating", console=console()))


def _table(model: Path, dataset: str, result: Evaluation) -> Table:
    table = Table(title=f"{model.name} on {dataset}: {result.n_images} pictures, {result.n_boxes} boxes")
    table.add_column("number")
    table.add_column("value", justify="right")
    for name, value in result.coco.items():
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    for name, precision in (("VOC07 AP50", result.voc07_ap50), ("VOC AP50", result.voc_ap50)):
        table.add_row(name, "-" if precision is None else f"{precision:.4f}")
    table.add_row("quasi IoU", f"{result.quasi_iou:.4f}")
    table.add_row(f"best F1, from score {result.best_f1_conf:.4f} on", f"{result.best_f1:.4f}")
    return table


def main() -> None:
    """Entry point of mmp-val."""
    app()
