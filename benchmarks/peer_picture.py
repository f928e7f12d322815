"""The picture of peers.py: accuracy against time, a model's float32 and int8 joined, names where there is room."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Line
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from mmpnet.system.files import replacing

SPOTS = [(far, angle) for far in (9, 16, 26, 38) for angle in (0, 30, -30, 90, -90, 150, -150, 180)]
"""Where a name may stand: points from its place, direction in degrees; the first is the best."""


def draw(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """AP50 over time; float32 and int8 of one model are joined, what was only timed is a dotted line."""
    figure = Figure(figsize=(8, 5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="ms per frame on one thread, pixels to boxes (median)", ylabel="AP50, person")
    axes.grid(alpha=0.3)
    times = {name: row["one thread"]["end_to_end_ms"] for name, row in rows.items()}
    places = {name: (times[name], row["AP50"]) for name, row in rows.items() if row["AP50"] is not None}
    for name, place in places.items():
        ours, int8 = rows[name]["family"] == "mmpnet", rows[name]["precision"] == "int8"
        colour = "#2a7f3f" if ours else "#777777"
        float32 = places.get(name.removesuffix("-int8"), place)
        axes.plot(*zip(float32, place, strict=True), "-", color=colour, linewidth=0.8, zorder=1)
        axes.plot(*place, "o" if ours else "s", color=colour, markerfacecolor="white" if int8 else colour, markersize=8)
    for name in times.keys() - places.keys():
        axes.axvline(times[name], color="#777777", linestyle=":", linewidth=1)
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.3 * max(times.values()))
    axes.set_title("filled: float32, hollow: int8; dotted: only timed", fontsize=9, loc="right")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed where the axes lie now
    _name(axes, times, places)
    with replacing(path) as partial:
        figure.savefig(partial)


def _name(axes: Axes, times: dict[str, float], places: dict[str, tuple[float, float]]) -> None:
    """Names beside their points, where they cover fewest points, lines and other names; as near as that goes."""
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in map(axes.transData.transform, places.values())]
    joined = [line for line in axes.lines if len(line.get_xydata()) > 1]
    lines = [Line(line.get_transform().transform(line.get_xydata())) for line in joined]
    for name in sorted(times.keys() - places.keys()):
        across = axes.get_xaxis_transform()
        upright = axes.text(times[name], 0, name, transform=across, rotation=90, ha="right", fontsize=8)
        for height in (0.02, 0.35, 0.68):
            upright.set_y(height)
            if not upright.get_window_extent().count_overlaps(taken):
                break
        taken.append(upright.get_window_extent())
    for name, place in places.items():
        covered = []
        for far, angle in SPOTS:
            box = (trial := _at(axes, name, place, far=far, angle=angle)).get_window_extent().padded(1)
            inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
            crossed = sum(line.intersects_bbox(box, filled=False) for line in lines)
            covered.append(10 * box.count_overlaps(taken) + crossed + (0 if inside else 100))
            trial.remove()
        far, angle = SPOTS[int(np.argmin(covered))]
        shown = _at(axes, name, place, far=far, angle=angle)
        taken.append(shown.get_window_extent())
        if far > 16:
            leader = {"arrowstyle": "-", "linewidth": 0.5, "color": "#777777"}
            axes.annotate("", place, xytext=shown.xyann, textcoords="offset points", arrowprops=leader)


def _at(axes: Axes, name: str, place: tuple[float, float], *, far: int, angle: int) -> Annotation:
    """A name so many points from its place, in this direction in degrees."""
    offset = far * np.cos(np.radians(angle)), far * np.sin(np.radians(angle))
    side = "left" if offset[0] > 1 else "right" if offset[0] < -1 else "center"
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
    where = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
    return axes.annotate(name, place, fontsize=9, bbox=behind, **where)
