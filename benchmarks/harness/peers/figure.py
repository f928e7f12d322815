"""The figure of peers.py: for each set AP50 against time, and below it AP by the size of the persons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import save_figure
from harness.peers.labels import place_names

OURS_COLOR, PEERS_COLOR = "#2a7f3f", "#777777"
SIZES = {"APs": "small", "APm": "medium", "APl": "large", "AP": "all"}
Point = tuple[float, float]
Row = Mapping[str, Any]


def draw_peers(path: Path, document: Mapping[str, Any]) -> None:
    """A column of panels for each set; ours are green, int8 is hollow and joined with its float32 model.

    Raises: OutputError if the file cannot be written.
    """
    rows: dict[str, Row] = document["contestants"]
    sets: Sequence[Row] = document["sets"]
    figure = Figure(figsize=(0.6 + 5.4 * len(sets), 8.6), layout="constrained")
    panels = figure.subplots(2, len(sets), squeeze=False, sharey="row", height_ratios=(3, 2))
    times = {name: row["one thread"]["end_to_end_ms"] for name, row in rows.items()}
    places = [_points(rows, times, facts["name"]) for facts in sets]
    for column, facts in enumerate(sets):
        _draw_times(panels[0, column], rows, times, places[column])
        _draw_sizes(panels[1, column], rows, facts["name"])
        panels[0, column].set_title(f"{facts['name']}: {facts['images']} images", fontsize=10, loc="left")
    panels[0, 0].set_ylabel("AP50, person")
    panels[1, 0].set_ylabel("AP, person")
    figure.suptitle(
        "green: ours; filled: float32, hollow: int8; dotted: only timed; times are medians on one thread", fontsize=9
    )
    measured = [name for name, row in rows.items() if row["accuracy"]]
    figure.supxlabel(f"models at each size, from left to right: {', '.join(measured)}", fontsize=8, wrap=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed where the axes lie now
    for column, of_set in enumerate(places):
        place_names(panels[0, column], times, of_set)
    save_figure(figure, path)


def _points(rows: Mapping[str, Row], times: Mapping[str, float], name: str) -> dict[str, Point]:
    """Time and AP50 of each model that has an accuracy on the set."""
    measured = {model: row["accuracy"].get(name) for model, row in rows.items()}
    return {model: (times[model], numbers["AP50"] or 0.0) for model, numbers in measured.items() if numbers}


def _draw_times(axes: Axes, rows: Mapping[str, Row], times: Mapping[str, float], places: Mapping[str, Point]) -> None:
    for name, place in places.items():
        float32 = places.get(name.removesuffix("-int8"), place)
        axes.plot(*zip(float32, place, strict=True), "-", color=_color(rows[name]), linewidth=0.8, zorder=1)
        axes.plot(*place, **_marker(rows[name]))
    for name in times.keys() - places.keys():
        axes.axvline(times[name], color=PEERS_COLOR, linestyle=":", linewidth=1)
    axes.grid(alpha=0.3)
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.3 * max(times.values()))
    axes.set_xlabel("ms per frame, pixels to boxes", fontsize=9)


def _draw_sizes(axes: Axes, rows: Mapping[str, Row], name: str) -> None:
    """A marker for each model and size; a size range without boxes has none."""
    measured = {model: row["accuracy"][name] for model, row in rows.items() if name in row["accuracy"]}
    for number, (model, numbers) in enumerate(measured.items()):
        offset = 0.6 * (number / max(len(measured) - 1, 1) - 0.5)
        for at, key in enumerate(SIZES):
            if numbers[key] is not None:
                axes.plot(at + offset, numbers[key], **_marker(rows[model]))
    axes.set_xticks(range(len(SIZES)), list(SIZES.values()))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_xlabel("size of the people", fontsize=9)


def _color(row: Row) -> str:
    return OURS_COLOR if row["family"] == "mmpnet" else PEERS_COLOR


def _marker(row: Row) -> dict[str, Any]:
    """How a model's points look."""
    color, shape = _color(row), "o" if row["family"] == "mmpnet" else "s"
    face = "white" if row["precision"] == "int8" else color
    return {"marker": shape, "color": color, "markerfacecolor": face, "markersize": 7, "linestyle": "none"}
