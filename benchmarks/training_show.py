"""training.py's results for people: tables, what they mean, and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from latency import save_figure
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from rich.table import Table
from training_speeds import Loading, StepSpeed

from mmpnet.console.command import console
from mmpnet.reporting.svg import BLUE, GRAY, ORANGE

AIM = 0.95
"""Of the step's speed, to be kept beside the loader."""
_KINDS = {"loader_alone": ("loader alone", GRAY), "step_alone": ("step alone", ORANGE), "together": ("together", BLUE)}


def show(rows: Sequence[StepSpeed] | Sequence[Loading]) -> None:
    """The table, and a sentence on each loader."""
    console().print(_table(rows))
    for row in rows:
        if isinstance(row, Loading):
            console().print(verdict(row))


def _table(rows: Sequence[StepSpeed] | Sequence[Loading]) -> Table:
    if isinstance(rows[0], StepSpeed):
        headings = ["frozen blocks", "images/s", "ratio"]
    else:
        headings = ["pictures from", *(name for name, _ in _KINDS.values()), "kept", "waiting"]
    table = Table("device", *headings, "peak GPU MB", title="images per second")
    for row in rows:
        memory = "-" if row.peak_gpu_mb is None else f"{row.peak_gpu_mb:.0f}"
        if isinstance(row, StepSpeed):
            table.add_row(row.device, str(row.freeze), f"{row.images_per_s:.1f}", f"{row.ratio:.2f}", memory)
        else:
            speeds = [f"{getattr(row, kind):.1f}" for kind in _KINDS]
            table.add_row(row.device, row.source, *speeds, f"{row.kept:.1%}", f"{row.waiting:.1%}", memory)
    return table


def verdict(row: Loading) -> str:
    """What is kept of the step's speed and, where that is less than the aim, what takes it."""
    low, high = min(row.kept_rounds), max(row.kept_rounds)
    kept = f"{row.device}, {row.source}: {row.kept:.1%} of the step's speed kept ({low:.1%} to {high:.1%}), "
    if row.kept >= AIM:
        return f"{kept}the aim of {AIM:.0%} is reached"
    if row.loader_alone < row.step_alone:
        return f"{kept}less than {AIM:.0%}: the loader alone is slower than the step; more --workers, or the cache"
    times = row.loader_alone / row.step_alone
    return (
        f"{kept}less than {AIM:.0%}, though the loader alone is {times:.1f} times as fast as the step: they contend "
        f"for the cores; sharing those without loss would keep {row.cores_allow:.1%}"
    )


def draw(path: Path, rows: Sequence[StepSpeed] | Sequence[Loading]) -> None:
    """A line of points for each row, and in words what the last one says.

    Raises: OutputError if the picture cannot be written.
    """
    labels, notes, speeds = [], [], dict[str, list[float]]()
    for row in rows:
        if isinstance(row, StepSpeed):
            labels.append(f"{row.device}, {row.freeze} blocks frozen")
            notes.append(f"{row.images_per_s:.3g}")
            speeds.setdefault("step_alone", []).append(row.images_per_s)
        else:
            labels.append(f"{row.device}, from {row.source}")
            notes.append(f"{row.kept:.1%} kept")
            for kind in _KINDS:
                speeds.setdefault(kind, []).append(getattr(row, kind))
    _draw(path, labels, speeds, notes)


def _draw(path: Path, labels: Sequence[str], speeds: Mapping[str, Sequence[float]], notes: Sequence[str]) -> None:
    figure = Figure(figsize=(7, 1.4 + 0.45 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    at = list(range(len(labels)))
    for kind, values in speeds.items():
        name, colour = _KINDS[kind]
        axes.plot(values, at, "o", color=colour, markersize=9, alpha=0.8, label=name)
    for y, (x, note) in enumerate(zip(values, notes, strict=True)):
        axes.annotate(note, (x, y), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9)
    axes.set(xscale="log", xlabel="images per second", yticks=at, ylim=(len(labels) - 0.5, -0.7))
    axes.set_yticklabels(labels)
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.2, 0.4)))
    axes.grid(axis="x", which="both", color=GRAY, alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    figure.legend(loc="outside upper right", ncols=len(speeds), frameon=False, fontsize=9)
    save_figure(figure, path)
