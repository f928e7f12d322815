"""What mmp-val does with its options: check them, measure, show the results and write files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mmpnet.console.command import console
from mmpnet.console.command import results as results_console
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.bootstrap import Bootstrap
from mmpnet.evaluation.error_analysis import find_mistakes
from mmpnet.evaluation.evaluate import detect_all, require_measurable
from mmpnet.evaluation.mistake_files import check_new, write_mistakes
from mmpnet.evaluation.mistake_files import copy_mistakes as copy_mistakes_to
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
from mmpnet.evaluation.results import ModelResult, Part, measure_parts
from mmpnet.media.images import IMAGE_SUFFIXES
from mmpnet.system.files import check_folder, check_output
from mmpnet.system.optional_packages import require_report_packages
from mmpnet.train.open_models import OpenedModel, OpeningOptions, check_options

REPORT_SUFFIXES = (".html", ".htm")


def check_models(paths: Sequence[Path], options: OpeningOptions) -> None:
    """Raises: typer.BadParameter for options that do not go with these files."""
    try:
        check_options(paths, options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def measure(
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


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names; whole paths where two files have one name. Raises: typer.BadParameter for a file given twice."""
    for index, path in enumerate(paths):
        if path.resolve() in [one.resolve() for one in paths[:index]]:
            raise typer.BadParameter(f"{path}: is given twice; give it once")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def check_outputs(sheet: Path | None, report: Path | None) -> None:
    """Report what cannot be written before any image is read.

    Raises: OutputError for a name that cannot be written; MissingExtraError without the packages of a report.
    """
    if sheet is not None:
        check_output(sheet, IMAGE_SUFFIXES)
    if report is not None:
        check_output(report, REPORT_SUFFIXES)
        require_report_packages()


def write_outputs(
    sheet: Path | None, report: Path | None, subject: Subject, measured: Measured, results: Sequence[ModelResult]
) -> None:
    """Write the image of mistakes and the page, where asked for. Raises: OutputError if one cannot be written."""
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


def check_mistake_outputs(mistakes: Path | None, copy_to: Path | None) -> None:
    """Report what cannot be written before any image is read. Raises: OutputError for such a name."""
    if mistakes is not None:
        check_output(mistakes, (".json",))
    if copy_to is not None:
        check_folder(copy_to, option=f"--copy-mistakes {copy_to}")
        check_new(copy_to)


def write_mistake_files(path: Path | None, copy_to: Path | None, measured: Measured) -> None:
    """Write the list of mistakes and the folder of their images, where asked for.

    Raises: OutputError if one cannot be written.
    """
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


def show(results: Sequence[ModelResult]) -> None:
    """Print the tables of one model, or of several side by side."""
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
