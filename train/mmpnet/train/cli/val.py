"""mmp-val: measure checkpoints and exported files in the same way, by data set and source, one or several models."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmpnet.console.command import HELP_NAMES, console, exit_on_error, explain_imports, show_version
from mmpnet.console.help import helpful
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.contract.text import well_formed_values
from mmpnet.datasets.splits import Split
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS, RESAMPLES
from mmpnet.runtime.inference.embedded import OTHER_NAMES, model_path
from mmpnet.runtime.inference.providers import Provider

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
EXAMPLES = (
    ("mmp-val person.onnx --data DATA", "the accuracy of one model, with 95 % intervals"),
    ("mmp-val person.onnx --data DATA --report report.html --sheet mistakes.png", "curves, samples and mistakes"),
    ("mmp-val person-320-int8 runs/train/best.pth --data DATA", "compare models on the same images"),
)


@app.command(cls=helpful("--data", "--split", "--classes", "--report", "--sheet", examples=EXAMPLES))
def val(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help=f"A checkpoint .pth, an exported .onnx, {OTHER_NAMES}, or an ONNX file of YOLOX, NanoDet, RTMDet or "
            "YOLO. Several are compared on the same images.",
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder or file: COCO JSON, YOLO, VOC, ... as in the README. Several are reported each, and together."
        ),
    ],
    split: Annotated[Split, typer.Option(help="Which split of a folder.")] = "val",
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Measure only the class NAME; NAME=OLD,OLDER measures those as one class. May be repeated."),
    ] = None,
    by_source: Annotated[
        bool, typer.Option("--by-source", help="Report each `source` that a COCO JSON names for its images.")
    ] = False,
    conf: Annotated[float | None, typer.Option(min=0, max=1, help=f"Default: {EVALUATION_THRESHOLDS.conf:g}.")] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"NMS threshold; default: {EVALUATION_THRESHOLDS.iou:g}.")
    ] = None,
    max_det: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Detections per image; default: {EVALUATION_THRESHOLDS.max_det}. AR100 counts 100 at most."
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, max=100_000, help="Resamples of the images for 95 % intervals; 0: none.")
    ] = RESAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    device: Annotated[str | None, typer.Option(help="For .pth: auto, cpu, cuda or cuda:N; default: auto.")] = None,
    provider: Annotated[Provider | None, typer.Option(help="For .onnx; default: auto.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, max=1024, help="For .onnx; default: 0, ONNX Runtime's choice.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Image of the first model's worst mistakes, such as mistakes.png.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="One HTML file with the numbers, and the first model's curves, samples and mistakes."),
    ] = None,
    mistakes: Annotated[
        Path | None, typer.Option(help="JSON list of the first model's mistakes, worst first, with their reasons.")
    ] = None,
    copy_mistakes: Annotated[
        Path | None,
        typer.Option(help="New folder for the images with a mistake and their labels (COCO), to correct them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure accuracy on labeled images: COCO's and VOC's AP, best F1, quasi IoU, each with its 95 % interval."""
    with exit_on_error():
        thresholds = override_thresholds(EVALUATION_THRESHOLDS, conf, iou, max_det)
        stated = (conf, iou, max_det) != (None, None, None)
        with explain_imports(extra="cpu,eval"):
            from mmpnet.cli.class_option import checked_classes
            from mmpnet.datasets.load import read_apart
            from mmpnet.datasets.transform import mix
            from mmpnet.evaluation.bootstrap import Bootstrap
            from mmpnet.evaluation.report.inputs import Measured
            from mmpnet.evaluation.results import document, parts_of
            from mmpnet.train.cli import val_actions as actions
            from mmpnet.train.open_models import OpeningOptions, open_model
        options = OpeningOptions(thresholds, stated, device, provider, threads)
        paths = [model_path(model) for model in models]
        actions.check_models(paths, options)
        actions.check_outputs(sheet, report)
        actions.check_mistake_outputs(mistakes, copy_mistakes)
        datasets = read_apart(data, split, checked_classes(classes))
        parts = parts_of(datasets, by_source=by_source)
        mixed = mix(datasets)
        for note in mixed.notes:
            console().print(f"note: {note}")
        how = Bootstrap(bootstrap, seed) if bootstrap else None
        opened = [open_model(path, mixed.class_names[1:], options, say=console().print) for path in paths]
        results = actions.measure(opened, actions.distinct_names(paths), mixed, parts, how)
        if as_json:
            sys.stdout.write(json.dumps(well_formed_values(document(results, how))) + "\n")
        else:
            actions.show(results)
        measured = Measured(mixed, results[0].whole.evaluation, opened[0].protocol)
        actions.write_outputs(sheet, report, opened[0].subject, measured, results)
        actions.write_mistake_files(mistakes, copy_mistakes, measured)


def main() -> None:
    """Entry point of mmp-val."""
    app()
