"""What the samples of a long run say: how memory grew after the warm-up, and whether the latency did."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from latency import save_figure

from mmpnet.contract.errors import MmpnetError
from mmpnet.system.timing import REMEMBERED

LEAST_SAMPLES = 3
"""For a line that one odd sample does not decide."""
SPAN_MB = 10.0


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


def draw_trends(path: Path, samples: Sequence[Sample], line: Line) -> None:
    # matplotlib takes its time to load, and only a picture needs it.
    from matplotlib.figure import Figure

    from mmpnet.reporting.svg import BLUE, ORANGE

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
