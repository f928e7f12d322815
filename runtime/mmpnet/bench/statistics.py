"""Summaries of repeated timings, and the confidence interval of a median."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmpnet.system.timing import percentiles

RANKS = (50, 90, 95, 99)
NOISY_SPREAD = 0.05
CONFIDENCE = 0.95
RESAMPLES = 2000

Floats = NDArray[np.float64]


class StageReport(msgspec.Struct, frozen=True, kw_only=True):
    """The times of one stage.

    repeats_ms: the median of each repeat; median_ms: their median; spread: (largest - smallest) / median of them, None
    with one repeat. percentiles_ms: of all samples together, None if there are too few.
    """

    median_ms: float
    spread: float | None
    repeats_ms: tuple[float, ...]
    samples: int
    percentiles_ms: dict[str, float | None]

    @property
    def noisy(self) -> bool | None:
        """Whether the repeats disagree too much to be trusted; None with one repeat."""
        return None if self.spread is None else self.spread > NOISY_SPREAD


def summarize(repeats_ms: Sequence[Floats]) -> StageReport:
    """Summarize the samples of all repeats; every repeat has at least one sample."""
    medians = [float(np.median(repeat)) for repeat in repeats_ms]
    median = float(np.median(medians))
    pooled = np.concatenate(repeats_ms)
    return StageReport(
        median_ms=round(median, 4),
        spread=round((max(medians) - min(medians)) / median, 4) if len(medians) > 1 else None,
        repeats_ms=tuple(round(value, 4) for value in medians),
        samples=len(pooled),
        percentiles_ms={
            name: None if value is None else round(value, 4) for name, value in percentiles(pooled, RANKS).items()
        },
    )


def block_length(count: int) -> int:
    """The block length of the bootstrap: the cube root of the sample size, as is usual."""
    return max(1, round(math.exp(math.log(count) / 3)))


def median_interval(values: Floats, *, seed: int) -> tuple[float, float]:
    """Confidence interval of the median, by a circular block bootstrap.

    Samples that are close in time share the other load on the machine. Drawing single samples would treat them as
    independent, and the interval would be too narrow.
    """
    count, block = len(values), block_length(len(values))
    starts = np.random.default_rng(seed).integers(0, count, (RESAMPLES, math.ceil(count / block)))
    drawn = (starts[..., None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count] % count
    medians = np.median(values[drawn], axis=1)
    outside = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians, [outside, 100 - outside])
    return float(low), float(high)
