"""mmp-val: measure checkpoints and exported files in the same way, by data set and source, one or several models."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mmpnet.cli.class_option import checked_classes
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, show_version
from mmpnet.console.command import results as results_console
from mmpnet.console.help import helpful
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted, well_formed_values
from mmpnet.datasets.load import read_apart
from mmpnet.datasets.transform import mix
from mmpnet.datasets.types import Dataset, LabeledImage, Split
from mmpnet.evaluation.bootstrap import Bootstrap
from mmpnet.evaluation.error_analysis import find_mistakes
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, detect_all, require_measurable
from mmpnet.evaluation.mistake_files import copy_mistakes as copy_mistakes_to
from mmpnet.evaluation.mistake_files import write_mistakes
from mmpnet.evaluation.report.contact_sheet import write_sheet
from mmpnet.evaluation.report.inputs import Measured, Subject
from mmpnet.evaluation.result_tables import (
    TextTable,
    class_table,
    number_table,
    table_of_one_model,
    tables_of_several_models,
    verdicts,
)
from mmpnet.evaluation.results import ModelResult, Part, document, measure_parts, parts_of
from mmpnet.media.images import IMAGE_SUFFIXES
from mmpnet.runtime.inference.embedded import OTHER_NAMES, model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.files import check_folder, check_output
from mmpnet.system.optional_packages import require_report_packages
from mmpnet.train.open_models import OpenedModel, OpeningOptions, check_options, open_model

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
REPORT_SUFFIXES = (".html", ".htm")
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
    ] = Bootstrap().resamples,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = Bootstrap().seed,
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
        options = OpeningOptions(thresholds, stated, device, provider, threads)
        paths = [model_path(model) for model in models]
        _checked_options(paths, options)
        _check_outputs(sheet, report)
        _check_mistake_outputs(mistakes, copy_mistakes)
        datasets = read_apart(data, split, checked_classes(classes))
        parts = parts_of(datasets, by_source=by_source)
        mixed = mix(datasets)
        for note in mixed.notes:
            console().print(f"note: {note}")
        how = Bootstrap(bootstrap, seed) if bootstrap else None
        opened = [open_model(path, mixed.class_names[1:], options, say=console().print) for path in paths]
        results = _measure(opened, _distinct_names(paths), mixed, parts, how)
        if as_json:
            sys.stdout.write(json.dumps(well_formed_values(document(results, how))) + "\n")
        else:
            _show(results)
        measured = Measured(mixed, results[0].whole.evaluation, opened[0].protocol)
        _write_outputs(sheet, report, opened[0].subject, measured, results)
        _write_mistakes(mistakes, copy_mistakes, measured)


def _checked_options(paths: Sequence[Path], options: OpeningOptions) -> None:
    try:
        check_options(paths, options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _measure(
    opened: Sequence[OpenedModel],
    names: Sequence[str],
    dataset: Dataset,
    parts: Sequence[Part],
    bootstrap: Bootstrap | None,
) -> list[ModelResult]:
    """Measure every model on every part.

    Raises: DatasetError if a model cannot be measured on the data, or two models not on the same classes.
    """
    known = [require_measurable(dataset, model.class_names) for model in opened]
    for name, to_category in zip(names, known, strict=True):
        if set(to_category.values()) != set(known[0].values()):
            one, other = ([dataset.class_names[i] for i in sorted(set(of.values()))] for of in (known[0], to_category))
            raise DatasetError(
                f"{names[0]} can be measured on {', '.join(one)}, {name} on {', '.join(other)}; "
                "choose classes that all models know with --classes"
            )
    results = []
    for model, name, to_category in zip(opened, names, known, strict=True):
        found = detect_all(model.detect, dataset, to_category, progress=_progress(f"evaluating {name}"))
        measured = measure_parts(dataset, found, sorted(to_category.values()), parts, bootstrap)
        results.append(ModelResult(name, model.protocol, measured))
    return results


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names; whole paths where two files have one name. Raises: typer.BadParameter for a file given twice."""
    for index, path in enumerate(paths):
        if path.resolve() in [one.resolve() for one in paths[:index]]:
            raise typer.BadParameter(f"{path}: is given twice; give it once")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _check_outputs(sheet: Path | None, report: Path | None) -> None:
    """Report what cannot be written before any image is read."""
    if sheet is not None:
        check_output(sheet, IMAGE_SUFFIXES)
    if report is not None:
        check_output(report, REPORT_SUFFIXES)
        require_report_packages()


def _write_outputs(
    sheet: Path | None, report: Path | None, subject: Subject, measured: Measured, results: Sequence[ModelResult]
) -> None:
    if sheet is not None:
        evaluation = measured.evaluation
        mistakes = find_mistakes(measured.dataset, evaluation, conf=evaluation.best_f1_conf)
        write_sheet(sheet, mistakes, measured.dataset, evaluation)
        console().print(f"saved {sheet}")
    if report is not None:
        # matplotlib takes its time to load, and only a report needs it.
        from mmpnet.evaluation.report.report import write_report

        write_report(report, subject, measured=measured, history=None, results=results)
        console().print(f"saved {report}")


def _check_mistake_outputs(mistakes: Path | None, copy_to: Path | None) -> None:
    if mistakes is not None:
        check_output(mistakes, (".json",))
    if copy_to is not None:
        check_folder(copy_to, option=f"--copy-mistakes {copy_to}")


def _write_mistakes(path: Path | None, copy_to: Path | None, measured: Measured) -> None:
    if path is None and copy_to is None:
        return
    found = find_mistakes(measured.dataset, measured.evaluation, conf=measured.evaluation.best_f1_conf)
    if path is not None:
        write_mistakes(path, found, measured.dataset)
        console().print(f"saved {path}")
    if copy_to is not None:
        count = copy_mistakes_to(copy_to, found, measured.dataset)
        console().print(f"saved {counted(count, 'image')} with a mistake and their labels in {copy_to}")


def _progress(description: str) -> Callable[[Sequence[LabeledImage]], Iterator[LabeledImage]]:
    def shown(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(track(images, description=escape(description), console=console()))

    return shown


def _show(results: Sequence[ModelResult]) -> None:
    shown = results_console()
    model, whole = results[0].name, results[0].whole
    if len(results) > 1:
        for (title, table), one in zip(tables_of_several_models(results), results[0].parts, strict=True):
            shown.print(f"\n{title}")
            shown.print(_compact(table))
            for sentence in verdicts(results, one.part):
                shown.print(sentence)
        if len(whole.evaluation.classes) > 1:
            shown.print(_compact(class_table(results)))
        return
    size = f"{counted(whole.evaluation.n_images, 'image')}, {counted(whole.evaluation.n_boxes, 'box')}"
    shown.print(_rich(number_table(whole), title=f"{model} on {whole.part.name}: {size}"))
    if len(whole.evaluation.classes) > 1:
        shown.print(_compact(class_table(results)))
    if len(results[0].parts) > 1:
        shown.print(_compact(table_of_one_model(results[0])))


def _rich(table: TextTable, **style: Any) -> Table:
    shown = Table(**style)
    for index, name in enumerate(table.header):
        is_name = index < table.n_names
        shown.add_column(name, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name)
    for row in table.rows:
        shown.add_row(*row)
    return shown


def _compact(table: TextTable) -> Table:
    """Return a table without lines, which fits into a narrow terminal."""
    return _rich(table, box=None, padding=(0, 1, 0, 0))


def main() -> None:
    """Entry point of mmp-val."""
    app()
