"""The figure of training.py: images per second of steps and loaders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from harness.figures import save_figure
from harness.training.speeds import LoaderSpeed, StepSpeed
from harness.training.tables import KINDS, step_name
from mmpnet.reporting.svg import BLUE, GRAY, ORANGE

COLORS = {"loader_alone": GRAY, "step_alone": ORANGE, "together": BLUE}


def draw_speeds(path: Path, rows: Sequence[StepSpeed] | Sequence[LoaderSpeed]) -> None:
    """A line of points for each row, and a note on the last one.

    Raises: OutputError if the file cannot be written.
    """
    labels, notes, speeds = [], [], dict[str, list[float]]()
    for row in rows:
        if isinstance(row, StepSpeed):
            labels.append(f"{row.device}, {step_name(row)}")
            notes.append(f"{row.images_per_s:.3g}")
            speeds.setdefault("step_alone", []).append(row.images_per_s)
        else:
            labels.append(f"{row.device}, from {row.source}")
            notes.append(f"{row.kept:.1%} kept")
            for kind in KINDS:
                speeds.setdefault(kind, []).append(getattr(row, kind))
    _draw(path, labels, speeds, notes)


def _draw(path: Path, labels: Sequence[str], speeds: Mapping[str, Sequence[float]], notes: Sequence[str]) -> None:
    figure = Figure(figsize=(7, 1.4 + 0.45 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    at = list(range(len(labels)))
    for kind, values in speeds.items():
        axes.plot(values, at, "o", color=COLORS[kind], markersize=9, alpha=0.8, label=KINDS[kind])
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
