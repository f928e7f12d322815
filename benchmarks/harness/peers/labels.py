"""Names beside the points of a plot, where there is room."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path as LinePath
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

SPOTS = [(far, angle) for far in (9, 16, 26, 38) for angle in (0, 30, -30, 90, -90, 150, -150, 180)]
"""Positions of a name: points from its place, and direction in degrees; the first is the best."""
HEIGHTS = (0.02, 0.35, 0.68)
"""Positions of a vertical line's name, as shares of the axes' height."""
LEADER_FROM = 16
"""A name that stands farther than this from its point is joined with it by a line."""
OUTSIDE_COST, OVERLAP_COST = 100, 10


def place_names(axes: Axes, times: Mapping[str, float], places: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, where they cover fewest points, lines and other names, as near as possible.

    A name in `times` that has no place gets its own beside the vertical line at that time.
    """
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in map(axes.transData.transform, places.values())]
    joined = [line for line in axes.lines if len(np.asarray(line.get_xydata())) > 1]
    lines = [LinePath(line.get_transform().transform(np.asarray(line.get_xydata()))) for line in joined]
    for name in sorted(times.keys() - places.keys()):
        taken.append(_name_of_line(axes, name, times[name], taken))
    for name, place in places.items():
        far, angle = _best_spot(axes, name, place, taken, lines)
        shown = _at(axes, name, place, far=far, angle=angle)
        taken.append(shown.get_window_extent())
        if far > LEADER_FROM:
            leader = {"arrowstyle": "-", "linewidth": 0.5, "color": "#777777"}
            axes.annotate("", place, xytext=shown.xyann, textcoords="offset points", arrowprops=leader)


def _best_spot(
    axes: Axes, name: str, place: tuple[float, float], taken: list[Bbox], lines: list[LinePath]
) -> tuple[int, int]:
    """The first of SPOTS with the least cost."""
    costs = []
    for far, angle in SPOTS:
        tried = _at(axes, name, place, far=far, angle=angle)
        box = tried.get_window_extent().padded(1)
        inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
        crossed = sum(line.intersects_bbox(box, filled=False) for line in lines)
        costs.append(OVERLAP_COST * box.count_overlaps(taken) + crossed + (0 if inside else OUTSIDE_COST))
        tried.remove()
    return SPOTS[int(np.argmin(costs))]


def _name_of_line(axes: Axes, name: str, time_ms: float, taken: list[Bbox]) -> Bbox:
    """Write a name along a vertical line, at the first height where it covers nothing; the box it takes."""
    across = axes.get_xaxis_transform()
    upright = axes.text(time_ms, 0, name, transform=across, rotation=90, ha="right", fontsize=8)
    for height in HEIGHTS:
        upright.set_y(height)
        if not upright.get_window_extent().count_overlaps(taken):
            break
    return upright.get_window_extent()


def _at(axes: Axes, name: str, place: tuple[float, float], *, far: int, angle: int) -> Annotation:
    """A name at this distance in points and this direction in degrees from its place."""
    offset = far * np.cos(np.radians(angle)), far * np.sin(np.radians(angle))
    side = "left" if offset[0] > 1 else "right" if offset[0] < -1 else "center"
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
    return axes.annotate(
        name, place, xytext=offset, textcoords="offset points", ha=side, va="center", fontsize=9, bbox=behind
    )
