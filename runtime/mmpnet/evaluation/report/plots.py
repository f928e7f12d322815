"""The report's plots, as SVG for its page: text and axes take the page's text color, in light and dark mode.

This module imports matplotlib, so only the report imports it.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmpnet.contract.text import counted
from mmpnet.evaluation.curves import RECALL_GRID, ConfidenceCurve, Curve, PrecisionRecall
from mmpnet.evaluation.report.inputs import Line
from mmpnet.reporting.svg import BLUE, GREEN, INK, ORANGE, PALETTE, key, svg

DOTTED_POINTS = 40
"""Curves with at most this many points get markers, which show where values were measured."""


def precision_recall_plot(at50: Sequence[PrecisionRecall], at75: Sequence[PrecisionRecall]) -> str:
    """Precision over recall at IoU 0.5 and 0.75, as envelopes; for several classes their mean is bold."""

    def draw(axes: Axes) -> None:
        for curves, color in ((at50, BLUE), (at75, ORANGE)):
            if len(curves) > 1:
                for curve in curves:
                    axes.plot(RECALL_GRID, curve.precision_at(RECALL_GRID), color=color, linewidth=0.5, alpha=0.4)
                recall, precision = RECALL_GRID, np.mean([one.precision_at(RECALL_GRID) for one in curves], axis=0)
            else:
                recall, precision = _steps(curves[0])
            axes.plot(recall, precision, color=color)
        _unit_square(axes, "recall", "precision")
        key(axes, (("IoU 0.5", BLUE), ("IoU 0.75", ORANGE)))

    what = "Precision over recall at IoU 0.5 and 0.75"
    return svg(draw, what if len(at50) == 1 else f"{what}, mean of {len(at50)} classes")


def confidence_plot(curve: ConfidenceCurve) -> str:
    """Precision, recall and F1 over the score threshold; a dotted line marks the best F1."""

    def draw(axes: Axes) -> None:
        for values, color in ((curve.precision, ORANGE), (curve.recall, GREEN), (curve.f1, BLUE)):
            axes.plot(curve.conf, values, color=color, drawstyle="steps-pre")
        axes.axvline(curve.best()[1], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        _unit_square(axes, "score threshold", "at IoU 0.5")
        key(axes, (("precision", ORANGE), ("recall", GREEN), ("F1", BLUE)))

    return svg(draw, "Precision, recall and F1 against the score threshold")


def size_plot(rows: Sequence[tuple[str, float | None, int]]) -> str:
    """AP by object size: (name, AP or None, number of boxes), from top to bottom."""

    def draw(axes: Axes) -> None:
        values = [ap or 0.0 for _, ap, _ in rows]
        axes.barh(range(len(rows)), values, color=BLUE, height=0.55)
        for row, (_, ap, _) in enumerate(rows):
            text = "none to measure" if ap is None else f"{ap:.3f}"
            axes.annotate(text, (ap or 0.0, row), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(rows)), [f"{name}\n{counted(count, 'box')}" for name, _, count in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, max(0.1, 1.25 * max(values)))
        axes.set_xlabel("AP (IoU 0.5 to 0.95)")

    return svg(draw, "AP by object size")


def epoch_plot(lines: Sequence[Line], what: str) -> str:
    """Values over epochs, with a name at the end of each line; lines without any value are left out."""
    measured = [line for line in lines if np.isfinite(line.y).any()]

    def draw(axes: Axes) -> None:
        for line, color in zip(measured, cycle(PALETTE), strict=False):
            there = np.isfinite(line.y)
            few = int(there.sum()) <= DOTTED_POINTS
            axes.plot(line.x[there], line.y[there], color=color, marker="o" if few else None, markersize=2.5)
        _name_ends(axes, measured)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return svg(draw, f"{what} over epochs")


def _steps(curve: PrecisionRecall) -> tuple[Curve, Curve]:
    """The envelope as a step curve, from recall 0, with a drop to 0 after the last box found."""
    envelope = curve.envelope()
    if not len(envelope):
        return np.zeros(1), np.zeros(1)
    ends = np.append(np.flatnonzero(np.diff(envelope)), len(envelope) - 1)
    recall = np.repeat(curve.recall[ends], 2)
    precision = np.repeat(envelope[ends], 2)
    return np.append(0.0, recall), np.concatenate([precision[:1], precision[1:], [0.0]])


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _measured(line: Line) -> tuple[Curve, Curve]:
    there = np.isfinite(line.y)
    return (line.x[there], line.y[there]) if there.any() else (np.zeros(1), np.zeros(1))


def _name_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Write names and last values to the right of the lines' ends, and move them apart if ends are close."""
    colored = [(*_measured(line), line.name, color) for line, color in zip(lines, cycle(PALETTE), strict=False)]
    apart = 0.08 * max((float(y.max()) for _, y, _, _ in colored), default=1.0)
    lowest = -np.inf
    for x, y, name, color in sorted(colored, key=lambda entry: float(entry[1][-1])):
        lowest = max(float(y[-1]), lowest + apart)
        axes.annotate(
            f"{name} {y[-1]:.3f}",
            (float(x[-1]), lowest),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=color,
            annotation_clip=False,
        )
