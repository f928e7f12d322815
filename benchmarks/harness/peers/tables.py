"""The document of peers.py as tables: one of accuracy for each set, and one of latency."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Column, Table

from harness.peers.latency import THREADS

SHOWN = ("AP", "AP50", "APs", "APm", "APl")


def report_lines(document: dict[str, Any], absent: list[str]) -> Iterator[RenderableType]:
    """Tables and sentences, in order."""
    rows = document["contestants"]
    for facts in document["sets"]:
        yield f"{facts['name']}: {facts['images']} images, {facts['boxes']} boxes"
        yield _accuracy_table(rows, facts["name"])
    if document["rounds"]:
        yield _latency_table(rows)
    yield from (f"{name}: {row['note']}" for name, row in rows.items() if "note" in row)
    yield from (f"absent: {name}" for name in absent)


def _accuracy_table(rows: dict[str, dict[str, Any]], name: str) -> Table:
    """Best AP first."""
    table = Table(_model_column(rows), *SHOWN, box=None, padding=(0, 1, 0, 0))
    measured = {model: row["accuracy"][name] for model, row in rows.items() if row["accuracy"]}
    for model, numbers in sorted(measured.items(), key=lambda item: -(item[1]["AP"] or 0)):
        table.add_row(model, *("-" if numbers[key] is None else f"{numbers[key]:.3f}" for key in SHOWN))
    return table


def _latency_table(rows: dict[str, dict[str, Any]]) -> Table:
    """Fastest first."""
    one, every = THREADS
    table = Table(
        _model_column(rows), "MB", f"{one} ms", "of it network", f"{every} ms", box=None, padding=(0, 1, 0, 0)
    )
    for name, row in sorted(rows.items(), key=lambda item: item[1][one]["end_to_end_ms"]):
        times = (row[one]["end_to_end_ms"], row[one]["infer_ms"], row[every]["end_to_end_ms"])
        table.add_row(name, f"{row['size_bytes'] / 1e6:.1f}", *(f"{value:.1f}" for value in times))
    return table


def _model_column(rows: dict[str, dict[str, Any]]) -> Column:
    return Column("model", no_wrap=True, min_width=max(map(len, rows)))
