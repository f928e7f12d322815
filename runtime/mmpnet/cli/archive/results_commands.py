"""mmp-archive query and report: ask the results of an archive. They need no Ray."""

import csv
import json
import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from mmpnet.console.command import console, exit_on_error, explain_imports, results
from mmpnet.contract.text import counted, visible

if TYPE_CHECKING:
    from mmpnet.archive.query import Answer

Format: TypeAlias = Literal["table", "csv", "json"]
SHOWN_ROWS = 40
QUERY_EXAMPLES = (
    ("mmp-archive query detections/ \"camera = 'door' and hour between 7 and 9\"", "detections that meet a condition"),
    ('mmp-archive query detections/ "select count(*) from tracks where confirmed"', "any SELECT"),
    ('mmp-archive query detections/ "describe tracks"', "the columns; views are frames, detections and tracks"),
)
REPORT_EXAMPLES = (
    ("mmp-archive report detections/", "write detections/report.html"),
    ("mmp-archive report detections/ -o monday.html", "write it elsewhere"),
    ("mmp-archive report /nfs/detections -o report.html", "results that a cluster wrote"),
)
Results: TypeAlias = Annotated[
    str, typer.Argument(metavar="RESULTS", help="Folder or s3://... that mmp-archive wrote to.")
]


def query(
    folder: Results,
    text: Annotated[
        str, typer.Argument(metavar="QUERY", help="A condition on the columns of detections, or a SELECT statement.")
    ],
    form: Annotated[Format, typer.Option("--format", help="What to print on stdout.")] = "table",
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"Most rows; default: {SHOWN_ROWS} in a table, otherwise all.")
    ] = None,
) -> None:
    """Print the detections that meet a condition, or the rows of a SELECT statement, by DuckDB."""
    with exit_on_error():
        with explain_imports(extra="cluster"):
            from mmpnet.archive.places import place_of
            from mmpnet.archive.query import ask, opened
        with opened(place_of(folder)) as connection:
            most = limit if limit is not None or form != "table" else SHOWN_ROWS
            _print(ask(connection, text), form, most)


def report(
    folder: Results,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="The page; default: report.html beside the results."),
    ] = None,
) -> None:
    """Write one page: people per hour and camera, heat maps, longest visits, failures, model and settings."""
    with exit_on_error():
        with explain_imports(extra="cluster"):
            from mmpnet.archive.places import place_of
            from mmpnet.archive.report import REPORT, write_report
        place = place_of(folder)
        path = place / REPORT if output is None else place_of(output)
        write_report(place, path)
        console().print(f"saved {path}")


def _print(answer: "Answer", form: Format, most: int | None) -> None:
    rows = answer.rows if most is None else islice(answer.rows, most)
    if form == "table":
        _print_table(answer.names, [[_cell(value) for value in row] for row in rows])
        if next(answer.rows, None) is not None:
            console().print(f"only the first {counted(most or 0, 'row')}; --limit shows more, --format csv all")
        return
    writer = csv.writer(sys.stdout)
    if form == "csv":
        writer.writerow(answer.names)
    for row in rows:
        if form == "csv":
            writer.writerow([_safe(value) for value in row] if sys.stdout.isatty() else row)
        else:
            sys.stdout.write(json.dumps(dict(zip(answer.names, row, strict=True)), default=str) + "\n")


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Lines are not cut: a path is useless without its end."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        results().print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else visible(str(value)).replace("\n", "\\n")


def _safe(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value
