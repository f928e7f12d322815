"""Confidence intervals of accuracy by the percentile bootstrap over images (Efron 1979), for one model or two paired.

Each resample draws as many images as there are, with replacement. Two models are compared on the same resamples, so
that images which are easy or hard for both cancel out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mmpnet.contract.arrays import IntArray
from mmpnet.evaluation.image_matches import ImageMatches, Values
from mmpnet.evaluation.protocol import RESAMPLES

LEVEL = 0.95
LEAST_IMAGES = 10
"""With fewer images with boxes, no interval is given: resamples of a single image never differ."""
Samples: TypeAlias = Mapping[str, Values]
"""The value of each number in every resample (R,), NaN if it is undefined."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The number of resamples and their seed.

    Raises: ValueError if the number is below 1.
    """

    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"a bootstrap needs at least 1 resample, got {self.resamples}")

    def counts(self, n_images: int) -> IntArray:
        """How often each resample contains each image (R, n_images): the same for every model."""
        random = np.random.default_rng(self.seed)
        return random.multinomial(n_images, np.full(n_images, 1 / n_images), size=self.resamples)


@dataclass(frozen=True, slots=True)
class Interval:
    """The central LEVEL of the resampled values of a number."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a number between two models on the same images, and its interval over the same resamples."""

    value: float
    interval: Interval

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero, so that the models differ on such images."""
        return self.interval.excludes_zero


def resampled(matches: ImageMatches, bootstrap: Bootstrap) -> Samples | None:
    """COCO's twelve numbers in every resample; None with fewer than LEAST_IMAGES images that have boxes."""
    if matches.n_images_with_boxes < LEAST_IMAGES:
        return None
    return matches.numbers(bootstrap.counts(matches.n_images))


def interval(values: Values) -> Interval | None:
    """The percentile interval of the defined values of a number (R,); None if no value is defined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def difference(
    name: str, ours: Mapping[str, float | None], theirs: Mapping[str, float | None], samples: Samples, others: Samples
) -> Difference | None:
    """Difference of the number `name`, ours minus theirs, in value and in resamples; None if it is undefined."""
    one, other = ours[name], theirs[name]
    found = interval(samples[name] - others[name])
    if one is None or other is None or found is None:
        return None
    return Difference(one - other, found)
