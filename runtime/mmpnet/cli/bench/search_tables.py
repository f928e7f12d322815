"""Show the report of a search as a table and sentences."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmpnet.bench.search.report import SearchReport
from mmpnet.bench.search.wording import COLUMNS, cells, command_of, verdict

SHOWN = tuple(name for name in COLUMNS if name not in ("precision", "model alone", "MB"))
"""What fits into 80 columns; the page and --json have all columns. The name of a file states its precision."""


def show_search(console: Console, report: SearchReport, folder: Path | None) -> None:
    """Print every setting, the files that could not be made, and the verdict."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in SHOWN:
        table.add_column(name, overflow="fold")
    for one in report.settings:
        row = dict(zip(COLUMNS, cells(report, one), strict=True))
        table.add_row(*(row[name].replace("insufficient samples", "-") for name in SHOWN))
    console.print(table)
    for left in report.left_out:
        console.print(f"left out: {left.what}: {left.why}")
    console.print(verdict(report))
    command = command_of(report, folder)
    if command is not None:
        console.print(f"next: {command}")
