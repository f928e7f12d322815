"""Percentiles of times, if there are enough samples."""

import time
from collections import deque
from collections.abc import Iterable

import numpy as np

REMEMBERED = 10_000
"""Enough for any percentile here; a camera runs for months."""
LEAST_SAMPLES = {50: 1, 90: 64, 95: 130, 99: 662}
"""MLPerf's early-stopping minima: with fewer the percentile is a guess."""


def percentiles(values: Iterable[float], ranks: Iterable[int] = (50, 90, 99)) -> dict[str, float | None]:
    """p50, p90 and so on, of the ranks in LEAST_SAMPLES; None where there are too few values for one."""
    sample = np.fromiter(values, np.float64)
    return {
        f"p{rank}": float(np.percentile(sample, rank)) if len(sample) >= LEAST_SAMPLES[rank] else None for rank in ranks
    }


class Samples(deque[float]):
    """The latest values of something."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        super().__init__(values, maxlen=REMEMBERED)

    def percentiles(self) -> dict[str, float | None]:
        """p50, p90 and p99; None where there are too few values for one."""
        return percentiles(self)


class CpuClock:
    """How busy this process keeps its cores."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def percent(self) -> float:
        """CPU time since the start in percent of the time on the wall: 100 is one core, all the time."""
        wall_s, cpu_s = self._began
        return 100 * (time.process_time() - cpu_s) / max(time.perf_counter() - wall_s, 1e-9)
