"""Trends in the samples of a long run: the growth of its memory after the warm-up, and of its latency."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmpnet.contract.errors import MmpnetError
from mmpnet.system.timing import REMEMBERED

LEAST_SAMPLES = 3
"""Needed for a line that one outlier does not decide."""


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
class MemoryTrend:
    """A line through memory over frames after the warm-up: its start, its whole rise, and its rise per 1000 frames."""

    warm_up_frames: int
    start_mb: float
    rise_mb: float
    mb_per_1000_frames: float


def growth(samples: Sequence[Sample]) -> MemoryTrend:
    """A line through memory over frames after the warm-up, by Theil and Sen: up to 29 % of outliers do not move it.

    The warm-up is the first tenth; in a long run also the frames whose times it remembers.

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
    return MemoryTrend(warm_up_frames, start_mb, slope * (last - warm_up_frames), 1000 * slope)


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last tenth, each of at least one value."""
    count = max(len(values) // 10, 1)
    return statistics.median(values[:count]), statistics.median(values[-count:])


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Each value rounded to four decimals."""
    return {name: round(value, 4) for name, value in values.items()}


def trends(samples: Sequence[Sample], line: MemoryTrend) -> dict[str, Any]:
    """Summaries of memory, latency and frame rate."""
    last, memory_mb = samples[-1], [sample.memory_mb for sample in samples]
    first_ms, last_ms = tenths([sample.latency_ms for sample in samples])
    return {
        "seconds": round(last.elapsed_s, 4),
        "frames_per_s": round(last.frame / last.elapsed_s, 2),
        "growth": rounded(asdict(line)),
        "memory_mb": rounded({"first": memory_mb[0], "last": memory_mb[-1], "most": max(memory_mb)}),
        "latency_ms": rounded({"first_tenth": first_ms, "last_tenth": last_ms, "last_per_first": last_ms / first_ms}),
    }
