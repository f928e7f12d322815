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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from latency import camera_frame, check_picture, machine, save_figure
from rich.table import Table

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.bench import stage_times_ms, warm_up
from mmpnet.runtime.bench_facts import model_facts
from mmpnet.runtime.capture import LiveSource
from mmpnet.runtime.command import HELP_NAMES, exit_on_error, people
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.embedded import model_path
from mmpnet.runtime.machine import resident_memory_mb
from mmpnet.runtime.pipeline import run
from mmpnet.runtime.sinks import NdjsonSink, Result, Sink
from mmpnet.runtime.summary import Summary
from mmpnet.runtime.timing import REMEMBERED, CpuClock

OWN = Path("/proc/self")
WARM_UP_S = 1.0
LEAST_SAMPLES = 3
"""For a line that one odd sample does not decide."""
SPAN_MB = 10.0

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at one moment; of the frames since the last one, CPU in percent of one core and the median age in ms
    from grab to result."""

    frame: int
    elapsed_s: float
    memory_mb: float
    cpu_percent: float
    latency_ms: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Line:
    """Memory over frames after the warm-up: where it begins, and what it rises by in all and per 1000 frames."""

    warm_up_frames: int
    start_mb: float
    rise_mb: float
    mb_per_1000_frames: float


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

    wants_picture = True

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
            _draw(picture, watching.samples, line)
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
        "after": open_things(),
    }


def open_things() -> dict[str, int]:
    """How many file descriptors this process has open, and how many threads, the libraries' own among them."""
    return {"descriptors": len(list((OWN / "fd").iterdir())), "threads": len(list((OWN / "task").iterdir()))}


def growth(samples: Sequence[Sample]) -> Line:
    """A line through memory over frames after the warm-up, by Theil and Sen: up to 29 % of odd samples do not move it.

    The warm-up is the first tenth; where the run is long, the frames whose times it remembers too.

    Raises: MmpnetError if too few samples are left.
    """
    last = samples[-1].frame if samples else 0
    warm_up_frames = max(last // 10, REMEMBERED if last > 2 * REMEMBERED else 0)
    settled = [sample for sample in samples if sample.frame > warm_up_frames]
    if len(settled) < LEAST_SAMPLES:
        raise MmpnetError(f"{len(settled)} samples after the warm-up, needed are {LEAST_SAMPLES}; run for longer")
    frame = np.array([sample.frame for sample in settled], np.float64)
    memory_mb = np.array([sample.memory_mb for sample in settled])
    first, second = np.triu_indices(len(frame), k=1)
    slope = float(np.median((memory_mb[second] - memory_mb[first]) / (frame[second] - frame[first])))
    start_mb = float(np.median(memory_mb - slope * (frame - warm_up_frames)))
    return Line(warm_up_frames, start_mb, slope * (last - warm_up_frames), 1000 * slope)


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last tenth, of one value at least."""
    count = max(len(values) // 10, 1)
    return statistics.median(values[:count]), statistics.median(values[-count:])


def rounded(values: dict[str, float]) -> dict[str, float]:
    """To four digits behind the point."""
    return {name: round(value, 4) for name, value in values.items()}


def trends(samples: Sequence[Sample], line: Line) -> dict[str, Any]:
    """What became of memory, latency and pace."""
    last, memory_mb = samples[-1], [sample.memory_mb for sample in samples]
    first_ms, last_ms = tenths([sample.latency_ms for sample in samples])
    return {
        "seconds": round(last.elapsed_s, 4),
        "frames_per_s": round(last.frame / last.elapsed_s, 2),
        "growth": rounded(asdict(line)),
        "memory_mb": rounded({"first": memory_mb[0], "last": memory_mb[-1], "most": max(memory_mb)}),
        "latency_ms": rounded({"first_tenth": first_ms, "last_tenth": last_ms, "last_per_first": last_ms / first_ms}),
    }


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
    people().print(table)
    people().print(
        f"{result['frames']} frames in {result['seconds']:.0f} s, {result['dropped']} dropped, "
        f"CPU at {result['cpu_percent']:.0f} % of one core"
    )
    if result["frames"] <= 2 * REMEMBERED:
        people().print(
            f"short: until frame {REMEMBERED} a run's record of its latest times fills, which is in the rise"
        )


def _draw(path: Path, samples: Sequence[Sample], line: Line) -> None:
    # matplotlib takes its time to load, and only a picture needs it.
    from matplotlib.figure import Figure

    from mmpnet.runtime.plots import BLUE, ORANGE

    unit, unit_s = ("minutes", 60) if samples[-1].elapsed_s > 120 else ("seconds", 1)
    at = np.array([sample.elapsed_s for sample in samples]) / unit_s
    settled = next(t for t, sample in zip(at, samples, strict=True) if sample.frame > line.warm_up_frames)
    memory_mb = np.array([sample.memory_mb for sample in samples])
    latency_ms = [sample.latency_ms for sample in samples]
    first_ms, last_ms = tenths(latency_ms)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, values in ((top, memory_mb), (bottom, latency_ms)):
        axes.plot(at, values, ".", markersize=4, color=BLUE)
        axes.axvspan(0, settled, color="black", alpha=0.06, linewidth=0)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    top.plot([settled, at[-1]], [line.start_mb, line.start_mb + line.rise_mb], color=ORANGE, linewidth=1.5)
    # No narrower than SPAN_MB: the allocator's pages would look like mountains.
    spare_mb = max(SPAN_MB - np.ptp(memory_mb), 0.2 * np.ptp(memory_mb)) / 2
    top.set(ylabel="resident MB", ylim=(memory_mb.min() - spare_mb, memory_mb.max() + spare_mb))
    rise = f"{line.rise_mb:+.1f} MB, {line.mb_per_1000_frames:+.3f} MB per 1000 frames"
    top.set_title(f"memory: {rise} after the warm-up (grey)", fontsize=10, loc="left")
    bottom.set(ylabel="ms, grab to result", ylim=(0, 1.1 * max(latency_ms)), xlabel=unit, xlim=(0, at[-1]))
    change = f"{first_ms:.1f} ms in the first tenth, {last_ms:.1f} ms in the last"
    bottom.set_title(f"latency: {change}", fontsize=10, loc="left")
    save_figure(figure, path)


if __name__ == "__main__":
    app()
