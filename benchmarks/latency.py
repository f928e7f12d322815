"""How long one frame takes, from raw BGR pixels in memory to final boxes, and how much of that is the network alone.

A sample is one call of a detector on one frame: letterbox, inference, threshold, NMS; reading and drawing are not in
it. Models take turns frame by frame, so that what else the machine does falls on all of them; ONNX Runtime's threads do
not spin, as one model's, waiting, would take another's core. Warm-up runs are not counted; what a fresh process takes
is startup.py's to say. Prints a table on stderr and, with --json, one JSON document on stdout; --picture needs
mmpnet[eval].
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from rich.progress import track
from rich.table import Table

from mmpnet.bench.compare import WARM_UP_S
from mmpnet.bench.environment import model_facts
from mmpnet.bench.latency import STAGES, opencv_threads, sample_frame, stage_reports, stage_times_ms, warm_up
from mmpnet.bench.statistics import RANKS, Floats, StageReport
from mmpnet.cli.bench.options import frame_hw_of
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.system.files import check_output, replacing
from mmpnet.system.machine import cpu_name, instruction_sets, usable_cores
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.system.optional_packages import require_packages
from mmpnet.system.timing import LEAST_SAMPLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "astronaut.jpg"
MEASURED = {"end_to_end": "pixels to boxes", "infer": "network alone"}
ALL_CORES = 0

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def latency(
    model: Annotated[
        list[Path] | None, typer.Argument(help="Names or .onnx files; default: the embedded ones.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=0, max=1024, help="May be repeated; 0 is all cores. Default: 1 and 0.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Of each repeat, for each model.")] = 150,
    repeats: Annotated[int, typer.Option(min=1, help="Their medians' spread says how far to trust them.")] = 5,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frame.")] = "1280x720",
    picture: Annotated[Path | None, typer.Option(help="Where a picture of it goes (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time detectors on the sample picture, resized to a camera's frame."""
    with exit_on_error():
        check_picture(picture)
        frame_bgr = camera_frame(frame_size)
        paths = named_apart(model or EMBEDDED_MODELS)
        rows = []
        for count in dict.fromkeys(threads or (1, ALL_CORES)):
            rows += _measured(paths, frame_bgr, count, frames, repeats)
        result = {
            "frame": frame_size,
            "frames": frames,
            "repeats": repeats,
            "models": {name: msgspec.to_builtins(model_facts(path)) for name, path in paths.items()},
            "latencies": rows,
            "machine": machine(),
        }
        _show(rows)
        if picture is not None:
            _draw(picture, rows, frame_size)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def named_apart(models: Sequence[Path | str]) -> dict[str, Path]:
    """Model files by their names without suffix.

    Raises: MmpnetError if two have one name.
    """
    paths = {path.stem: path for path in map(model_path, models)}
    if len(paths) != len(models):
        raise MmpnetError(f"models must have different names, got {', '.join(str(model) for model in models)}")
    return paths


def camera_frame(size: str) -> UInt8Array:
    """The sample picture as a frame (H, W, 3) BGR of this WIDTHxHEIGHT.

    Raises: typer.BadParameter if it is no size.
    """
    return sample_frame(PICTURE, frame_hw_of(size))


def take_turns(contestants: Sequence[tuple[Detector, UInt8Array]], *, frames: int, repeats: int, what: str) -> Floats:
    """Each detector on its frame, all in turns and in random order: ms (contestants, repeats, frames, len(STAGES))."""
    random = np.random.default_rng(0)
    times_ms = np.empty((len(contestants), repeats, frames, len(STAGES)))
    # Drawn between the repeats alone: a progress bar's thread would be measured along.
    for repeat in track(range(repeats), what, console=console(), transient=True, auto_refresh=False):
        for frame in range(frames):
            for index in random.permutation(len(contestants)):
                detector, frame_bgr = contestants[index]
                times_ms[index, repeat, frame] = stage_times_ms(detector, frame_bgr)
    return times_ms


def stage_facts(report: StageReport) -> dict[str, Any]:
    """A stage's report as plain values, with its verdict on the repeats."""
    return {**msgspec.to_builtins(report), "noisy": report.noisy}


def _measured(
    paths: dict[str, Path], frame_bgr: UInt8Array, threads: int, frames: int, repeats: int
) -> list[dict[str, Any]]:
    """One row per model, all on so many threads."""
    opencv_threads(threads)
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(Detector(path, provider="cpu", threads=threads, spin=False)) for path in paths.values()
        ]
        found = [warm_up(detector, frame_bgr, seconds=WARM_UP_S) for detector in detectors]
        what = f"timing on {threads_in_words(threads)}"
        contestants = [(detector, frame_bgr) for detector in detectors]
        times_ms = take_turns(contestants, frames=frames, repeats=repeats, what=what)
    rows = []
    for name, detections, repeats_ms in zip(paths, found, times_ms, strict=True):
        stages = stage_reports(list(repeats_ms))
        facts = {key: stage_facts(getattr(stages, key)) for key in MEASURED}
        rows.append({"model": name, "threads": threads, "detections": detections, **facts})
    return rows


def machine() -> dict[str, str | int | float | list[str] | None]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_name(),
        "instruction_sets": list(instruction_sets()),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
    }


def spread_cell(stage: dict[str, Any]) -> str:
    """How far a stage's repeats are apart, for a table."""
    spread = "-" if stage["spread"] is None else f"{stage['spread']:.1%}"
    return f"{spread} noisy" if stage["noisy"] else spread


def _show(rows: Sequence[dict[str, Any]]) -> None:
    ranks = [f"p{rank}" for rank in RANKS]
    table = Table("threads", "model", "ms of", *ranks, "spread", box=None, padding=(0, 1, 0, 0))
    for row in rows:
        for number, (key, name) in enumerate(MEASURED.items()):
            first = ("", "") if number else (str(row["threads"] or "all"), row["model"])
            times = row[key]["percentiles_ms"].values()
            cells = ["-" if value is None else f"{value:.2f}" for value in times]
            table.add_row(*first, name, *cells, spread_cell(row[key]))
    console().print(table)
    samples = rows[0]["infer"]["samples"]
    few = [f"p{rank} {least}" for rank, least in LEAST_SAMPLES.items() if samples < least]
    if few:
        console().print(f"-: {samples} samples are too few; needed for {', '.join(few)}")


def check_picture(path: Path | None) -> None:
    """Raises: OutputError or MissingExtraError, before the work, if --picture cannot be drawn."""
    if path is not None:
        check_output(path, (".png",))
        require_packages("matplotlib", wanted_for="--picture")


def save_figure(figure: "Figure", path: Path) -> None:
    """Raises: OutputError if the picture cannot be written."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150)


def _draw(path: Path, rows: Sequence[dict[str, Any]], frame_size: str) -> None:
    # matplotlib takes its time to load, and only a picture needs it.
    from matplotlib.figure import Figure

    counts = list(dict.fromkeys(row["threads"] for row in rows))
    models = len(rows) // len(counts)
    figure = Figure(figsize=(2.2 + 3.4 * len(counts), 1.5 + 0.75 * models), layout="constrained")
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, counts, strict=True):
        _draw_panel(panel, [row for row in rows if row["threads"] == count])
        panel.set_title(threads_in_words(count), fontsize=10, loc="left")
    panels[0].invert_yaxis()
    panels[0].set_xlim(left=0)
    figure.supxlabel(f"ms per frame of {frame_size}: bars to the median, lines to p90 (thick) and p99", fontsize=9)
    bars = panels[0].get_legend_handles_labels()
    figure.legend(*bars, loc="outside upper right", ncols=len(MEASURED), frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_panel(panel: "Axes", rows: Sequence[dict[str, Any]]) -> None:
    from mmpnet.reporting.svg import BLUE, GRAY

    for number, ((key, name), colour) in enumerate(zip(MEASURED.items(), (BLUE, GRAY), strict=True)):
        at = np.arange(len(rows)) + 0.4 * number - 0.2
        for y, row in zip(at, rows, strict=True):
            times_ms = row[key]["percentiles_ms"]
            median, p90, p99 = (times_ms[rank] or times_ms["p50"] for rank in ("p50", "p90", "p99"))
            panel.plot([median, p90], [y, y], color="black", linewidth=2.5, solid_capstyle="butt")
            panel.plot([median, p99], [y, y], color="black", linewidth=0.8)
            end = (max(p90, p99), y)
            panel.annotate(f"{median:.1f}", end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        panel.barh(at, [row[key]["percentiles_ms"]["p50"] for row in rows], height=0.36, color=colour, label=name)
    panel.set_yticks(range(len(rows)), [row["model"] for row in rows])
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.12)


def threads_in_words(threads: int) -> str:
    """As people say it."""
    return {ALL_CORES: "all cores", 1: "one thread"}.get(threads, f"{threads} threads")


if __name__ == "__main__":
    app()
