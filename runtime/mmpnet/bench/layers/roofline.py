"""The roofline plot: the rate of each layer relative to this machine's peak rates. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmpnet.bench.layers.peaks import Arithmetic, Peaks
from mmpnet.bench.layers.report import LayerRow, LayersReport
from mmpnet.reporting.svg import BLUE, GRAY, ORANGE
from mmpnet.system.files import atomic_write

_SIZE_IN = (8.0, 5.0)
_DPI = 150
_COLORS: dict[Arithmetic, str] = {"fp32": BLUE, "int8": ORANGE}
_NAMED = 6
_ROOM = (0.2, 0.04)
"""Width and height of a name, as fractions of the axes."""
_AREA_PT2 = 4000
"""The area of a point whose layer takes the whole time."""
_LEAST_AREA_PT2 = 6


def draw_roofline(report: LayersReport, path: Path) -> None:
    """Plot operations per second over operations per byte, both logarithmic; a point's area is its share of the time.

    Raises: OutputError if the file cannot be written.
    """
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="10⁹ operations per second")
    axes.set_title(
        f"{report.file}, one thread of {report.machine.cpu}: {report.kernels_ms:.1f} ms in kernels", fontsize=10
    )
    axes.grid(color=GRAY, alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    rows = [row for row in report.rows if row.gops is not None and row.bytes]
    _draw_layers(axes, rows)
    _draw_roofs(axes, report.peaks, [total.kind for total in report.kinds])
    _name_layers(axes, rows)
    with atomic_write(path) as partial:
        figure.savefig(partial)


def _draw_layers(axes: Axes, rows: Sequence[LayerRow]) -> None:
    for kind, color in _COLORS.items():
        drawn = [row for row in rows if row.kind == kind]
        places = np.array([_place(row) for row in drawn]).reshape(-1, 2)
        areas_pt2 = [max(row.share * _AREA_PT2, _LEAST_AREA_PT2) for row in drawn]
        axes.scatter(places[:, 0], places[:, 1], s=areas_pt2, color=color, alpha=0.5, linewidths=0)


def _draw_roofs(axes: Axes, peaks: Peaks, kinds: Sequence[Arithmetic]) -> None:
    """Draw the limits: horizontal for the peak of multiplying, sloping for memory bandwidth."""
    left, right = axes.get_xlim()
    for kind in kinds:
        peak, color = peaks.of(kind), _COLORS[kind]
        ridge = left if peaks.memory_gb_s is None else peak / peaks.memory_gb_s
        end = max(right, 5 * ridge)
        axes.plot([ridge, end], [peak, peak], color=color, linewidth=1.2)
        name = f"{kind} matrix product {peak:.0f}"
        axes.annotate(name, (end, peak), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color=color)
    if peaks.memory_gb_s is not None:
        slope = np.array([left, max(map(peaks.of, kinds), default=1.0) / peaks.memory_gb_s])
        start = (slope[0], slope[0] * peaks.memory_gb_s)
        axes.plot(slope, slope * peaks.memory_gb_s, color=GRAY, linewidth=1.2)
        name = f"main memory {peaks.memory_gb_s:.0f} GB/s"
        axes.annotate(name, start, xytext=(10, 0), textcoords="offset points", fontsize=8, color=GRAY)


def _name_layers(axes: Axes, rows: Sequence[LayerRow]) -> None:
    """Name the slowest layers, if there is room beside the names drawn before."""
    named: list[tuple[float, float]] = []
    for row in rows:
        at = axes.transAxes.inverted().transform(axes.transData.transform(_place(row)))
        x, y = float(at[0]), float(at[1])
        if all(abs(x - there[0]) > _ROOM[0] or abs(y - there[1]) > _ROOM[1] for there in named):
            named.append((x, y))
            label = f"{row.layer}, {row.share:.0%}"
            axes.annotate(label, _place(row), xytext=(7, -9), textcoords="offset points", fontsize=7)
        if len(named) == _NAMED:
            return


def _place(row: LayerRow) -> tuple[float, float]:
    return 2 * row.multiply_adds / row.bytes, row.gops or 0.0
