"""The HTML page of a search: accuracy over time, every setting, and the method. Needs jinja2 and matplotlib."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import markupsafe
from matplotlib.axes import Axes

from mmpnet.bench.search.report import SearchReport, SettingReport
from mmpnet.bench.search.wording import COLUMNS, cells, command_of, verdict
from mmpnet.contract.metadata import Precision
from mmpnet.contract.text import counted
from mmpnet.reporting.html import render, write_page
from mmpnet.reporting.svg import BLUE, GRAY, GREEN, INK, ORANGE, key, svg

_COLORS: dict[Precision, str] = {"float32": BLUE, "int8": ORANGE, "float16": GREEN}
_SIZE_IN = (7.5, 4.2)
_ABOVE, _BELOW = (0, 6), (0, -12)


def write_search_page(path: Path, report: SearchReport, folder: Path | None) -> None:
    """Write the page; `folder` holds the model files, for the command that uses the chosen one.

    Raises: OutputError if the page cannot be written.
    """
    page = render(
        "search.html.j2",
        title=f"The most accurate within {report.target_ms:g} ms",
        verdict=verdict(report),
        command=command_of(report, folder),
        plot=markupsafe.Markup(pareto_plot(report)),
        columns=COLUMNS,
        rows=[
            {"cells": cells(report, one), "chosen": index == report.chosen} for index, one in enumerate(report.settings)
        ],
        left_out=report.left_out,
        facts=tuple(_facts(report)),
    )
    write_page(path, page)


def pareto_plot(report: SearchReport) -> str:
    """AP over time, as SVG: one color per precision, a line along the front, a ring for the choice, a dashed target."""
    files = {file.file: file for file in report.files}
    precisions = list(dict.fromkeys(files[one.file].precision for one in report.settings))

    def draw(axes: Axes) -> None:
        for precision in precisions:
            points = [one for one in report.settings if files[one.file].precision == precision]
            axes.plot(_ms(points), _ap(points), "o", color=_COLORS[precision], alpha=0.8, markersize=6)
        front = [one for one in report.settings if one.front]
        axes.plot(_ms(front), _ap(front), color=GRAY, linewidth=1.0, zorder=0)
        axes.axvline(report.target_ms, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        if report.chosen is not None:
            chosen = [report.settings[report.chosen]]
            axes.plot(_ms(chosen), _ap(chosen), "o", markersize=13, fillstyle="none", color=INK)
        _name(axes, report, front)
        axes.set_xlim(0, 1.12 * max(report.target_ms, *_ms(report.settings)))
        axes.margins(y=0.15)
        axes.set_xlabel(f"{report.rank} ms per frame, pixels to boxes")
        axes.set_ylabel("AP (IoU 0.5 to 0.95)")
        key(axes, [(precision, _COLORS[precision]) for precision in precisions])

    return svg(draw, "Accuracy against time", _SIZE_IN)


def _name(axes: Axes, report: SearchReport, front: Sequence[SettingReport]) -> None:
    """Write size and threads at each point on the front, alternately above and below, as points may be close."""
    for index, one in enumerate(front):
        height, width = report.file(one).input_hw
        size = str(height) if height == width else f"{height}x{width}"
        threads = "" if one.threads == 1 else f", {one.threads or 'all'} threads"
        axes.annotate(
            f"{size}{threads}",
            (one.time_ms, one.AP),
            xytext=_ABOVE if index % 2 else _BELOW,
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )


def _ms(settings: Sequence[SettingReport]) -> list[float]:
    return [one.time_ms for one in settings]


def _ap(settings: Sequence[SettingReport]) -> list[float]:
    return [one.AP for one in settings]


def _facts(report: SearchReport) -> Iterator[tuple[str, str]]:
    judge, versions = report.judge, report.versions
    height, width = report.frame_hw
    yield (
        "images",
        f"{judge.name}: {counted(judge.n_images, 'image')}, {counted(judge.n_boxes, 'box')}, sha256 {judge.sha256}",
    )
    yield "accuracy", judge.protocol
    yield (
        "time",
        f"a {width}x{height} frame from BGR pixels to final boxes on {report.provider}, {report.repeats} x "
        f"{counted(report.frames, 'frame')}, all settings in turns, threads asleep between frames",
    )
    yield "machine", str(report.machine)
    if report.before.load_average is not None:
        yield "load average", f"{report.before.load_average:g} before, {report.after.load_average:g} after"
    yield (
        "versions",
        f"mmpnet {versions.mmpnet}, onnxruntime {versions.onnxruntime}, opencv {versions.opencv}, numpy "
        f"{versions.numpy}, Python {versions.python}",
    )
