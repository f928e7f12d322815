"""Find out whether a long live run leaks or slows down: memory, CPU, file descriptors, threads and latency.

Growth is the rise of a line (Theil-Sen: the median of the slopes between all pairs of samples) after the warm-up: the
first tenth, in runs of more than 20,000 frames at least 10,000, for which a run's record of its latest times fills. A
late jump does not move that line: first, last and most memory show it. Linux only. The JSON document has all samples;
--figure needs mmpnet[eval]. Exit code 1 where memory grows by more than --most-mb.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import typer
from rich.table import Table

from harness.figures import check_figure
from harness.frames import camera_frame
from harness.live.soak import ProcessSampler, live_run
from harness.live.trends import growth, rounded, trends
from harness.script import FigureFile, FrameSize, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.machine import resident_memory_mb
from mmpnet.system.timing import REMEMBERED

app = script_app()


@app.command()
def soak(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Length of the run.")] = 10.0,
    frames: Annotated[int | None, typer.Option(min=10, help="Stop after this many results, not after --minutes.")] = (
        None
    ),
    samples: Annotated[int, typer.Option(min=10, max=2000, help="Samples at even intervals.")] = 200,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 1,
    frame_size: FrameSize = "1280x720",
    most_mb: Annotated[float | None, typer.Option(min=0, help="Fail if memory grows by more than this.")] = None,
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Run live for a long time and sample the process."""
    with exit_on_error():
        check_figure(figure)
        if resident_memory_mb() is None:
            raise MmpnetError("this system does not report the memory of a process; soak.py needs Linux")
        frame_bgr = camera_frame(frame_size)
        path = model_path(model)
        sampler = ProcessSampler(seconds=60 * minutes, frames=frames, samples=samples)
        cv2.setNumThreads(1)
        with Detector(path, provider="cpu", threads=threads, spin=False) as detector:
            facts = live_run(detector, frame_bgr, sampler)
        line = growth(sampler.samples)
        result = {
            "model": msgspec.to_builtins(model_facts(path)),
            "frame": frame_size,
            "threads": threads,
            **facts,
            **trends(sampler.samples, line),
            "samples": [rounded(asdict(sample)) for sample in sampler.samples],
            "machine": machine_document(),
        }
        show(_table(result), *_sentences(result))
        if figure is not None:
            from harness.live.trends_figure import draw_trends

            draw_trends(figure, sampler.samples, line)
        if as_json:
            write_json(result)
        if most_mb is not None and line.rise_mb > most_mb:
            raise MmpnetError(f"memory grew by {line.rise_mb:.1f} MB after the warm-up; allowed are {most_mb:g} MB")


def _table(result: dict[str, Any]) -> Table:
    grown, memory, latency = result["growth"], result["memory_mb"], result["latency_ms"]
    rise = f"{grown['rise_mb']:+.1f} MB, {grown['mb_per_1000_frames']:+.3f} per 1000 frames"
    change = f"{latency['last_per_first'] - 1:+.1%}, last tenth against first"
    tenth_ms = (f"{latency[tenth]:.2f}" for tenth in ("first_tenth", "last_tenth"))
    table = Table("", "first", "last", "", box=None, padding=(0, 1, 0, 0))
    table.add_row("memory MB", f"{memory['first']:.1f}", f"{memory['last']:.1f}", f"{rise} after the warm-up")
    table.add_row("latency ms", *tenth_ms, change)
    for name in ("descriptors", "threads"):
        table.add_row(name, *(str(result[when][name]) for when in ("before", "after")), "before and after the run")
    return table


def _sentences(result: dict[str, Any]) -> list[str]:
    counts = (
        f"{result['frames']} frames in {result['seconds']:.0f} s, {result['dropped']} dropped, "
        f"CPU at {result['cpu_percent']:.0f} % of one core"
    )
    if result["frames"] > 2 * REMEMBERED:
        return [counts]
    filling = f"a short run: its record of the latest times fills until frame {REMEMBERED} and is part of the rise"
    return [counts, filling]


if __name__ == "__main__":
    app()
