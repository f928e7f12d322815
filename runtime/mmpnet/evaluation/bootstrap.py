"""How sure an accuracy is: percentile intervals of resampled images (Efron 1979), for one model and for two paired.

Images are drawn with replacement, as many as there are. Two models are compared on the same draws, so that what both
find hard or easy cancels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mmpnet.contract.arrays import IntArray
from mmpnet.evaluation.image_matches import ImageMatches, Values

LEVEL = 0.95
LEAST_IMAGES = 10
"""With fewer images that have boxes an interval says nothing: one image resampled is always itself."""
Samples: TypeAlias = Mapping[str, Values]
"""Each number's value in every resample (R,), NaN where it is undefined."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How many resamples are drawn, and from which seed.

    Raises: ValueError if there is none.
    """

    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"a bootstrap needs at least 1 resample, got {self.resamples}")

    def counts(self, n_images: int) -> IntArray:
        """How often each image stands in each resample (R, n_images): the same for every model."""
        random = np.random.default_rng(self.seed)
        return random.multinomial(n_images, np.full(n_images, 1 / n_images), size=self.resamples)


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle LEVEL of a number's resampled values."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One model's number minus another's on the same images, and its interval over the same resamples."""

    value: float
    interval: Interval

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves zero out: the models differ on images such as these."""
        return self.interval.excludes_zero


def resampled(matches: ImageMatches, bootstrap: Bootstrap) -> Samples | None:
    """COCO's twelve numbers in every resample; None with fewer than LEAST_IMAGES images that have boxes."""
    if matches.n_images_with_boxes < LEAST_IMAGES:
        return None
    return matches.numbers(bootstrap.counts(matches.n_images))


def interval(values: Values) -> Interval | None:
    """The percentile interval of a number's values (R,), undefined ones left out; None if all are."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def difference(
    name: str, ours: Mapping[str, float | None], theirs: Mapping[str, float | None], samples: Samples, others: Samples
) -> Difference | None:
    """Of the number `name`: ours minus theirs, of samples minus others; None where it is undefined."""
    one, other = ours[name], theirs[name]
    found = interval(samples[name] - others[name])
    if one is None or other is None or found is None:
        return None
    return Difference(one - other, found)
