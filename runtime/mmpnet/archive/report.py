"""One page about an archive: people per hour and camera, where they stand, the longest visits, model and settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from mmpnet.archive.places import Place, writing
from mmpnet.archive.query import opened
from mmpnet.archive.results import read_failed
from mmpnet.archive.settings import Manifest, require_manifest
from mmpnet.contract.text import counted
from mmpnet.reporting.html import render, write_page
from mmpnet.reporting.svg import BLUE, svg

REPORT = "report.html"
MOST_CAMERAS = 40
MOST_MAPS = 12
MOST_VISITS = 20
MOST_FAILURES = 50
GRID_HW = (18, 32)
"""Cells of a heat map."""
_MAP_SIZE_IN = (4.4, 2.6)
_COLORS = LinearSegmentedColormap.from_list("blue", [f"{BLUE}00", BLUE])


PEOPLE = """
select camera, {hour} as hour, count(*) as people from tracks
where confirmed and name = $name group by all order by camera, hour"""
FEET = """
select camera, greatest(least(floor($rows * y2 / height), $rows - 1), 0)::int as cell_row,
    greatest(least(floor($columns * (x1 + x2) / 2 / width), $columns - 1), 0)::int as cell_column, count(*) as n
from detections where name = $name group by all"""
VISITS = """
select camera, source, start_s, start, seconds, frames, score from tracks
where confirmed and name = $name order by seconds desc, source, start_s limit $most"""


@dataclass(frozen=True, slots=True)
class HourTable:
    """People per camera and hour. hours: the columns; is_clock: hours of the day, not of the video."""

    hours: tuple[int, ...]
    cameras: dict[str, dict[int, int]]
    is_clock: bool


def write_report(folder: Place, path: Place) -> None:
    """Write the page about a folder of results. Needs the packages of the [cluster] extra.

    Raises: OutputError if the folder has no results, or the page cannot be written.
    """
    manifest = require_manifest(folder)
    name = manifest.settings.class_names[1]
    with opened(folder) as connection:
        cells = {"rows": GRID_HW[0], "columns": GRID_HW[1], "name": name}
        feet = connection.execute(FEET, cells).fetchall()
        visits = connection.execute(VISITS, {"name": name, "most": MOST_VISITS}).fetchall()
        hours = people_per_hour(connection, name)
    maps = heat_maps(feet)
    failures = read_failed(folder)
    page = render(
        "archive.html.j2",
        title=f"{name.capitalize()} detections of {counted(manifest.videos, 'video')}"
        + (f" and {counted(manifest.images, 'image')}" if manifest.images else ""),
        summary=_summary(manifest),
        is_tracked=manifest.settings.track,
        hours=hours,
        rows=_hour_rows(hours),
        left_out_cameras=max(len(hours.cameras) - MOST_CAMERAS, 0),
        maps=[
            {"svg": markupsafe.Markup(heat_map_svg(camera, counts)), "camera": camera, "count": int(counts.sum())}
            for camera, counts in list(maps.items())[:MOST_MAPS]
        ],
        left_out_maps=max(len(maps) - MOST_MAPS, 0),
        visits=[_visit(row) for row in visits],
        failures=[(one.source, one.reason, f"{one.frames:,}") for one in failures[:MOST_FAILURES]],
        left_out_failures=max(len(failures) - MOST_FAILURES, 0),
        facts=tuple(_facts(manifest)),
    )
    if isinstance(path, Path):
        write_page(path, page)
        return
    with writing(path) as partial:
        write_page(partial, page)


def people_per_hour(connection: Any, name: str) -> HourTable:
    """Confirmed tracks by the hour in which they begin, of the day if the recordings tell their time."""
    (is_clock,) = connection.execute("select count(*) > 0 from tracks where start is not null").fetchone()
    hour = "hour" if is_clock else "floor(start_s / 3600)::int"
    cameras: dict[str, dict[int, int]] = {}
    seen: set[int] = set()
    for camera, at, people in connection.execute(PEOPLE.format(hour=hour), {"name": name}).fetchall():
        if at is not None:
            cameras.setdefault(camera, {})[at] = people
            seen.add(at)
    last = max(seen, default=0)
    return HourTable(tuple(range(24 if is_clock else last + 1)), cameras, is_clock)


def heat_maps(feet: list[tuple[str, int, int, int]]) -> dict[str, "np.ndarray[Any, Any]"]:
    """Detections by the cell (GRID_HW) of the middle of the lower edge of the box, by camera, most first."""
    maps: dict[str, np.ndarray[Any, Any]] = {}
    for camera, row, column, count in feet:
        maps.setdefault(camera, np.zeros(GRID_HW, np.int64))[row, column] = count
    return dict(sorted(maps.items(), key=lambda one: -int(one[1].sum())))


def heat_map_svg(camera: str, counts: "np.ndarray[Any, Any]") -> str:
    """A heat map in the shape of the frame; the color is the square root of the count."""

    def draw(axes: Axes) -> None:
        shown = np.ma.masked_equal(np.sqrt(counts), 0)
        axes.pcolormesh(shown, cmap=_COLORS, vmin=0, vmax=max(float(np.sqrt(counts.max())), 1.0), linewidth=0)
        axes.set_xlim(0, GRID_HW[1])
        axes.set_ylim(GRID_HW[0], 0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        axes.spines[["top", "right"]].set_visible(True)

    return svg(draw, f"heat map of {markupsafe.escape(camera)}", _MAP_SIZE_IN)


def _hour_rows(table: HourTable) -> list[dict[str, Any]]:
    most = max((people for hours in table.cameras.values() for people in hours.values()), default=1)
    ordered = sorted(table.cameras.items(), key=lambda one: -sum(one[1].values()))[:MOST_CAMERAS]
    return [
        {
            "camera": camera,
            "total": f"{sum(hours.values()):,}",
            "cells": [
                {"people": hours.get(hour, 0), "share": round(100 * (hours.get(hour, 0) / most) ** 0.5)}
                for hour in table.hours
            ],
        }
        for camera, hours in ordered
    ]


def _summary(manifest: Manifest) -> str:
    state = "" if manifest.finished_at else " The run is not finished: go on with --resume."
    return (
        f"{manifest.video_s / 3600:.2f} hours of video, {counted(manifest.frames, 'frame')}, "
        f"{counted(manifest.detections, 'detection')}, {counted(manifest.failed, 'failed file')}.{state}"
    )


def _visit(row: tuple[Any, ...]) -> tuple[str, ...]:
    camera, source, start_s, start, seconds, frames, score = row
    at = f"{start:%Y-%m-%d %H:%M:%S}" if start else f"{start_s:.1f} s"
    return camera, Path(source).name, at, f"{seconds:.1f}", f"{frames:,}", f"{score:.2f}"


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    settings = manifest.settings
    yield "model", f"{settings.model_name}, SHA-256 {settings.model_sha256}"
    counts = (f"{name}: {counted(count, 'frame')}" for name, count in sorted(manifest.providers.items()))
    yield "execution provider", ", ".join(counts) or manifest.provider
    yield "thresholds", f"conf {settings.conf:g}, iou {settings.iou:g}, max_det {settings.max_det}"
    yield "frames", "all" if settings.every == 1 else f"every {settings.every}th"
    yield "tracking", "yes" if settings.track else "no"
    yield "recordings", ", ".join(manifest.patterns)
    yield "started", manifest.started_at
    yield "finished", manifest.finished_at or "no"
    yield "last run", f"{manifest.elapsed_s:,.0f} s"
    yield "made with", f"mmpnet {manifest.mmpnet_version}"
