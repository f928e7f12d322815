"""The figure of stages.py: each stage's time by frame size, and the shares before and after the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import save_figure
from harness.stages import INFER, MOST_SHARE, POSTPROCESS, PREPROCESS
from mmpnet.bench.latency import STAGES
from mmpnet.bench.statistics import Floats
from mmpnet.reporting.svg import BLUE, GRAY, ORANGE


def draw_budgets(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Draw the budgets of several frame sizes.

    Raises: OutputError if the file cannot be written.
    """
    medians = np.array([[row["stages_ms"][name]["median_ms"] for name in STAGES[:3]] for row in rows])  # (sizes, 3)
    figure = Figure(figsize=(8.5, 1.5 + 0.5 * len(rows)), layout="constrained")
    whole, outside = figure.subplots(1, 2, sharey=True)
    _stack(whole, medians, (ORANGE, GRAY, BLUE), [f"{total:.1f}" for total in medians.sum(axis=1)])
    whole.set_yticks(range(len(rows)), [row["frame"] for row in rows])
    whole.invert_yaxis()
    whole.set_xlabel(f"ms per frame, medians: {title}", fontsize=9)
    shares = 100 * medians[:, [PREPROCESS, POSTPROCESS]] / medians[:, [INFER]]
    _stack(outside, shares, (ORANGE, BLUE), [f"{row['before_and_after_per_infer']:.1%}" for row in rows])
    outside.axvline(100 * MOST_SHARE, color="black", linewidth=1, linestyle=(0, (3, 3)))
    outside.set_xlim(0, max(outside.get_xlim()[1], 115 * MOST_SHARE))
    outside.set_xlabel(f"before and after, in % of infer (aim: at most {MOST_SHARE:.0%}, dashed)", fontsize=9)
    bars = [container[0] for container in whole.containers]
    figure.legend(bars, STAGES[:3], loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def _stack(axes: Axes, widths: Floats, colors: Sequence[str], texts: Sequence[str]) -> None:
    """A row of bars (rows, parts), end to end, and a text after each."""
    ends = np.cumsum(widths, axis=1)
    for column, color in enumerate(colors):
        part = widths[:, column]
        axes.barh(range(len(widths)), part, left=ends[:, column] - part, height=0.6, color=color)
    for y, (end, text) in enumerate(zip(ends[:, -1], texts, strict=True)):
        axes.annotate(text, (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, 1.2 * ends.max())
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
