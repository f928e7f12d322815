"""The figure of latency.py: bars to the median, lines to p90 and p99, a panel for each number of threads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import save_figure
from harness.latency import MEASURED_STAGES, threads_text
from mmpnet.reporting.svg import BLUE, GRAY


def draw_latencies(path: Path, rows: Sequence[dict[str, Any]], frame_size: str) -> None:
    """Draw the rows of `model_latencies`.

    Raises: OutputError if the file cannot be written.
    """
    counts = list(dict.fromkeys(row["threads"] for row in rows))
    models = len(rows) // len(counts)
    figure = Figure(figsize=(2.2 + 3.4 * len(counts), 1.5 + 0.75 * models), layout="constrained")
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, counts, strict=True):
        _draw_panel(panel, [row for row in rows if row["threads"] == count])
        panel.set_title(threads_text(count), fontsize=10, loc="left")
    panels[0].invert_yaxis()
    panels[0].set_xlim(left=0)
    figure.supxlabel(f"ms per frame of {frame_size}: bars to the median, lines to p90 (thick) and p99", fontsize=9)
    bars = panels[0].get_legend_handles_labels()
    figure.legend(*bars, loc="outside upper right", ncols=len(MEASURED_STAGES), frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_panel(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for number, ((key, name), color) in enumerate(zip(MEASURED_STAGES.items(), (BLUE, GRAY), strict=True)):
        at = np.arange(len(rows)) + 0.4 * number - 0.2
        for y, row in zip(at, rows, strict=True):
            times_ms = row[key]["percentiles_ms"]
            median, p90, p99 = (times_ms[rank] or times_ms["p50"] for rank in ("p50", "p90", "p99"))
            panel.plot([median, p90], [y, y], color="black", linewidth=2.5, solid_capstyle="butt")
            panel.plot([median, p99], [y, y], color="black", linewidth=0.8)
            end = (max(p90, p99), y)
            panel.annotate(f"{median:.1f}", end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        panel.barh(at, [row[key]["percentiles_ms"]["p50"] for row in rows], height=0.36, color=color, label=name)
    panel.set_yticks(range(len(rows)), [row["model"] for row in rows])
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.12)
