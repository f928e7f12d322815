"""Percentiles of durations, given only if there are enough samples."""

import time
from collections import deque
from collections.abc import Iterable

import numpy as np

REMEMBERED = 10_000
"""Number of latest samples that are kept: enough for any percentile here, bounded for runs of months."""
LEAST_SAMPLES = {50: 1, 90: 64, 95: 130, 99: 662}
"""Fewest samples for each percentile, from MLPerf's early-stopping rule; with fewer, the value is unreliable."""


def percentiles(values: Iterable[float], ranks: Iterable[int] = (50, 90, 99)) -> dict[str, float | None]:
    """Returns p50, p90 and so on for ranks in LEAST_SAMPLES; None for a rank with too few values."""
    sample = np.fromiter(values, np.float64)
    return {
        f"p{rank}": float(np.percentile(sample, rank)) if len(sample) >= LEAST_SAMPLES[rank] else None for rank in ranks
    }


class Samples(deque[float]):
    """The latest REMEMBERED values of a measurement."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        super().__init__(values, maxlen=REMEMBERED)

    def percentiles(self) -> dict[str, float | None]:
        """Returns p50, p90 and p99; None for a percentile with too few values."""
        return percentiles(self)


class CpuClock:
    """Measures how much CPU time this process uses."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def percent(self) -> float:
        """CPU time since the start as a percentage of elapsed time: 100 is one core fully used."""
        wall_s, cpu_s = self._began
        return 100 * (time.process_time() - cpu_s) / max(time.perf_counter() - wall_s, 1e-9)
