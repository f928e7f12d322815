"""Does a long live run leak or slow down: memory, CPU, file descriptors, threads and latency, while it runs.

The run is mmp-run's own: a live source grabbed in a thread, whose every frame is new memory, as a camera's is; the
detector; painting, and an NDJSON file that leads nowhere. Frames come twice as fast as the detector takes them, so that
it is never idle and about half of them are dropped. Growth is the rise of a line (Theil-Sen: the median of the slopes
between all pairs of samples) after the warm-up: the first tenth, in runs of more than 20,000 frames at least 10,000,
for which a run's record of its latest times fills. A late jump does not move that line: first, last and most memory
show it. Linux only. Prints a table on stderr and, with --json, one JSON document on stdout with all samples; --picture
needs mmpnet[eval]. Exit code 1 where memory grows by more than --most-mb.
"""

import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from latency import camera_frame, check_picture, machine
from rich.table import Table
from soak_trends import Sample, draw_trends, growth, rounded, trends

from mmpnet.bench.environment import model_facts
from mmpnet.bench.latency import stage_times_ms, warm_up
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.system.machine import resident_memory_mb
from mmpnet.system.timing import REMEMBERED, CpuClock

OWN = Path("/proc/self")
WARM_UP_S = 1.0
THREAD_END_S = 1.0
"""A thread that was joined stands in /proc a moment longer."""

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


class Camera:
    """Takes the place of cv2.VideoCapture: a frame every `period_s`, each in memory of its own."""

    def __init__(self, frame_bgr: UInt8Array, period_s: float) -> None:
        # Frames differ, as a camera's do: the same one again would be a frozen camera.
        self._frames = [np.ascontiguousarray(np.roll(frame_bgr, shift, axis=1)) for shift in range(0, 40, 5)]
        self._period_s, self._number = period_s, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, prop: int) -> float:
        return 1 / self._period_s if prop == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        time.sleep(self._period_s)
        self._number += 1
        return True

    def retrieve(self) -> tuple[bool, UInt8Array]:
        return True, self._frames[self._number % len(self._frames)].copy()

    def release(self) -> None:
        """Nothing is held."""


class Watching(Sink):
    """Samples the process at even intervals of `seconds`, or of `frames`, and ends the run after them."""

    wants_annotated = True

    def __init__(self, *, seconds: float, frames: int | None, samples: int) -> None:
        self._seconds, self._frames, self._wanted = seconds, frames, samples
        self._latencies_ms: list[float] = []
        self.samples: list[Sample] = []

    def started(self, summary: Summary) -> None:
        del summary
        self._began_s, self._clock = time.perf_counter(), CpuClock()

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        self._latencies_ms.append(result.age_ms)
        frame, elapsed_s = result.index + 1, time.perf_counter() - self._began_s
        done = elapsed_s / self._seconds if self._frames is None else frame / self._frames
        if done >= (len(self.samples) + 1) / self._wanted:
            memory_mb, latency_ms = resident_memory_mb() or 0.0, statistics.median(self._latencies_ms)
            cpu_percent = self._clock.percent()
            self.samples.append(Sample(frame, elapsed_s, memory_mb, cpu_percent, latency_ms, **open_things()))
            self._latencies_ms, self._clock = [], CpuClock()
        return done < 1


@app.command()
def soak(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01)] = 10.0,
    frames: Annotated[int | None, typer.Option(min=10, help="So many results instead of --minutes.")] = None,
    samples: Annotated[int, typer.Option(min=10, max=2000, help="At even intervals.")] = 200,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 1,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frame.")] = "1280x720",
    most_mb: Annotated[float | None, typer.Option(min=0, help="More growth than this is an error.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where memory and latency over time go (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Run live for a long time and watch the process."""
    with exit_on_error():
        check_picture(picture)
        if resident_memory_mb() is None:
            raise MmpnetError(f"{OWN}: does not tell this process's memory; soak.py needs Linux")
        frame_bgr = camera_frame(frame_size)
        path = model_path(model)
        watching = Watching(seconds=60 * minutes, frames=frames, samples=samples)
        cv2.setNumThreads(1)
        with Detector(path, provider="cpu", threads=threads, spin=False) as detector:
            facts = live_run(detector, frame_bgr, watching)
        line = growth(watching.samples)
        result = {
            "model": msgspec.to_builtins(model_facts(path)),
            "frame": frame_size,
            "threads": threads,
            **facts,
            **trends(watching.samples, line),
            "samples": [rounded(asdict(sample)) for sample in watching.samples],
            "machine": machine(),
        }
        _show(result)
        if picture is not None:
            draw_trends(picture, watching.samples, line)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")
        if most_mb is not None and line.rise_mb > most_mb:
            raise MmpnetError(f"memory grew by {line.rise_mb:.1f} MB after the warm-up; allowed are {most_mb:g} MB")


def live_run(detector: Detector, frame_bgr: UInt8Array, *sinks: Sink) -> dict[str, Any]:
    """The run, until a sink ends it; its counts, and what is open before and after it."""
    warm_up(detector, frame_bgr, seconds=WARM_UP_S)
    detect_s = statistics.median(stage_times_ms(detector, frame_bgr)[-1] for _ in range(10)) / 1e3
    camera = LiveSource("camera in memory", lambda: Camera(frame_bgr, detect_s / 2))
    before = open_things()
    summary = run(camera, detector, [*sinks, NdjsonSink(os.devnull, detector.class_names)])
    return {
        "frames": summary.frames,
        "dropped": summary.sources[0].dropped,
        "cpu_percent": round(summary.cpu_percent, 1),
        "before": before,
        "after": _open_afterwards(before),
    }


def _open_afterwards(before: dict[str, int]) -> dict[str, int]:
    """What is open once the run's own threads have gone, or still after `THREAD_END_S`."""
    deadline_s = time.perf_counter() + THREAD_END_S
    while (after := open_things())["threads"] > before["threads"] and time.perf_counter() < deadline_s:
        time.sleep(0.005)
    return after


def open_things() -> dict[str, int]:
    """How many file descriptors this process has open, and how many threads, the libraries' own among them."""
    return {"descriptors": len(list((OWN / "fd").iterdir())), "threads": len(list((OWN / "task").iterdir()))}


def _show(result: dict[str, Any]) -> None:
    grown, memory, latency = result["growth"], result["memory_mb"], result["latency_ms"]
    rise = f"{grown['rise_mb']:+.1f} MB, {grown['mb_per_1000_frames']:+.3f} per 1000 frames"
    change = f"{latency['last_per_first'] - 1:+.1%}, last tenth against first"
    tenth_ms = (f"{latency[tenth]:.2f}" for tenth in ("first_tenth", "last_tenth"))
    table = Table("", "first", "last", "", box=None, padding=(0, 1, 0, 0))
    table.add_row("memory MB", f"{memory['first']:.1f}", f"{memory['last']:.1f}", f"{rise} after the warm-up")
    table.add_row("latency ms", *tenth_ms, change)
    for name in ("descriptors", "threads"):
        table.add_row(name, *(str(result[when][name]) for when in ("before", "after")), "before and after the run")
    console().print(table)
    console().print(
        f"{result['frames']} frames in {result['seconds']:.0f} s, {result['dropped']} dropped, "
        f"CPU at {result['cpu_percent']:.0f} % of one core"
    )
    if result["frames"] <= 2 * REMEMBERED:
        console().print(
            f"short: until frame {REMEMBERED} a run's record of its latest times fills, which is in the rise"
        )


if __name__ == "__main__":
    app()
