"""The latency budget: what preprocessing, the network and postprocessing take of a frame, by the frame's size.

A detector takes turns between frames of all sizes, in memory; the network's input is of one size, so that only the
letterbox should notice. What the aim is for is the share: preprocessing and postprocessing together, in the inference.
Prints a table on stderr and, with --json, one JSON document on stdout; --picture needs mmpnet[eval].
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from latency import (
    camera_frame,
    check_picture,
    machine,
    save_figure,
    spread_cell,
    stage_facts,
    take_turns,
    threads_in_words,
)
from rich.table import Table

from mmpnet.bench.compare import WARM_UP_S
from mmpnet.bench.environment import model_facts
from mmpnet.bench.latency import STAGES, opencv_threads, stage_reports, warm_up
from mmpnet.bench.statistics import Floats
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_SIZES = ("640x480", "1280x720", "1920x1080", "3840x2160")
MOST_SHARE = 0.10
"""Of the inference, for what is before and after it: the aim."""
PREPROCESS, INFER, POSTPROCESS, _ = range(len(STAGES))

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def stages(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    frame_size: Annotated[
        list[str] | None, typer.Option(help=f"WIDTHxHEIGHT, may be repeated. Default: {' '.join(FRAME_SIZES)}.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Of each repeat, for each size.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="Their medians' spread says how far to trust them.")] = 5,
    picture: Annotated[Path | None, typer.Option(help="Where a picture of it goes (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time the stages on the sample picture, resized to cameras' frames."""
    with exit_on_error():
        check_picture(picture)
        path = model_path(model)
        sizes = {size: camera_frame(size) for size in frame_size or FRAME_SIZES}
        opencv_threads(threads)
        with Detector(path, provider="cpu", threads=threads, spin=False) as detector:
            for frame_bgr in sizes.values():
                warm_up(detector, frame_bgr, seconds=WARM_UP_S)
            contestants = [(detector, frame_bgr) for frame_bgr in sizes.values()]
            times_ms = take_turns(contestants, frames=frames, repeats=repeats, what="timing")
        rows = [{"frame": size, **budget(of_size)} for size, of_size in zip(sizes, times_ms, strict=True)]
        result = {
            "model": msgspec.to_builtins(model_facts(path)),
            "threads": threads,
            "frames": frames,
            "repeats": repeats,
            "most_share": MOST_SHARE,
            "sizes": rows,
            "machine": machine(),
        }
        _show(rows)
        if picture is not None:
            _draw(picture, rows, f"{path.stem}, {threads_in_words(threads)}")
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def budget(times_ms: Floats) -> dict[str, Any]:
    """One frame size's stages, from ms (repeats, frames, len(STAGES)).

    before_and_after_per_infer: median time of preprocess and postprocess together, per median inference; of each
    repeat, and the median of those.
    """
    reports = stage_reports(list(times_ms))
    outside_ms = np.median(times_ms[..., PREPROCESS] + times_ms[..., POSTPROCESS], axis=1)  # (repeats,)
    shares = outside_ms / np.median(times_ms[..., INFER], axis=1)
    share = float(np.median(shares))
    return {
        "stages_ms": {name: stage_facts(getattr(reports, name)) for name in STAGES},
        "before_and_after_per_infer": round(share, 4),
        "shares_of_repeats": [round(float(value), 4) for value in shares],
        "within_aim": share <= MOST_SHARE,
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    columns = ("frame", "before ms", "infer ms", "after ms", "end to end ms", "spread", "before + after, of infer")
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))
    for row in rows:
        found = [row["stages_ms"][name] for name in STAGES]
        share = f"{row['before_and_after_per_infer']:.1%}"
        medians = (f"{stage['median_ms']:.2f}" for stage in found)
        aim = share if row["within_aim"] else f"{share}, over {MOST_SHARE:.0%}"
        table.add_row(row["frame"], *medians, spread_cell(found[-1]), aim)
    console().print(table)


def _draw(path: Path, rows: Sequence[dict[str, Any]], what: str) -> None:
    # matplotlib takes its time to load, and only a picture needs it.
    from matplotlib.figure import Figure

    from mmpnet.reporting.svg import BLUE, GRAY, ORANGE

    medians = np.array([[row["stages_ms"][name]["median_ms"] for name in STAGES[:3]] for row in rows])  # (sizes, 3)
    figure = Figure(figsize=(8.5, 1.5 + 0.5 * len(rows)), layout="constrained")
    whole, outside = figure.subplots(1, 2, sharey=True)
    _stack(whole, medians, (ORANGE, GRAY, BLUE), [f"{total:.1f}" for total in medians.sum(axis=1)])
    whole.set_yticks(range(len(rows)), [row["frame"] for row in rows])
    whole.invert_yaxis()
    whole.set_xlabel(f"ms per frame, medians: {what}", fontsize=9)
    shares = 100 * medians[:, [PREPROCESS, POSTPROCESS]] / medians[:, [INFER]]
    _stack(outside, shares, (ORANGE, BLUE), [f"{row['before_and_after_per_infer']:.1%}" for row in rows])
    outside.axvline(100 * MOST_SHARE, color="black", linewidth=1, linestyle=(0, (3, 3)))
    outside.set_xlim(0, max(outside.get_xlim()[1], 115 * MOST_SHARE))
    outside.set_xlabel(f"before and after, in % of infer (aim: at most {MOST_SHARE:.0%}, dashed)", fontsize=9)
    bars = [container[0] for container in whole.containers]
    figure.legend(bars, STAGES[:3], loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def _stack(axes: "Axes", widths: Floats, colours: Sequence[str], texts: Sequence[str]) -> None:
    """A row of bars (rows, parts), end to end, and a text behind each."""
    ends = np.cumsum(widths, axis=1)
    for column, colour in enumerate(colours):
        part = widths[:, column]
        axes.barh(range(len(widths)), part, left=ends[:, column] - part, height=0.6, color=colour)
    for y, (end, text) in enumerate(zip(ends[:, -1], texts, strict=True)):
        axes.annotate(text, (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, 1.2 * ends.max())
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    app()
