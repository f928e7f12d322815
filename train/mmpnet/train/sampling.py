"""Which pictures an epoch shows, in which order: a function of seed and epoch, so that a resumed run repeats it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mmpnet.contract.errors import TrainingError
from mmpnet.runtime.datasets.types import Picture


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One draw: the picture's index, and the seed of its augmentation."""

    index: int
    seed: int


def generator(*key: int) -> Generator:
    """A numpy generator that depends on every number of the key, such as (seed, epoch)."""
    return Generator(PCG64(SeedSequence(key)))


def picture_weights(pictures: Sequence[Picture], group_weights: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
    """Sampling weight of each picture (N,), mean 1: the product of the weights whose pattern matches one of its tags.

    Raises: TrainingError if a pattern matches no picture, a weight is not positive and finite.
    """
    weights = np.ones(len(pictures))
    for pattern, weight in group_weights:
        if not 0 < weight < float("inf"):
            raise TrainingError(f"group weight {pattern}={weight}: expected a number above 0")
        matches = [any(fnmatchcase(tag, pattern) for tag in picture.tags) for picture in pictures]
        if not any(matches):
            known = sorted({tag for picture in pictures for tag in picture.tags})
            shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "") if known else "none"
            raise TrainingError(f"group weight {pattern!r} matches no picture; groups and sources here: {shown}")
        weights[matches] *= weight
    scaled: NDArray[np.float64] = weights / weights.mean()
    return scaled


class EpochSampler(Sampler[list[SampleKey]]):
    """Batches of one epoch: as many draws as there are pictures, each picture within one of its weight's share.

    `skip` leaves out the batches that an interrupted run has already seen. The last, smaller batch is dropped unless it
    is the only one.
    """

    def __init__(self, weights: NDArray[np.float64], *, batch_size: int, seed: int, epoch: int, skip: int = 0) -> None:
        self._weights = weights
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._skip = skip

    @property
    def batches_per_epoch(self) -> int:
        return max(len(self._weights) // self._batch_size, 1)

    def __len__(self) -> int:
        return self.batches_per_epoch - self._skip

    def __iter__(self) -> Iterator[list[SampleKey]]:
        count = len(self._weights)
        random = generator(self._seed, self._epoch)
        # Systematic resampling: less chance than independent draws, every picture is seen about as often as meant.
        edges = np.cumsum(self._weights) / self._weights.sum()
        order = np.searchsorted(edges, (np.arange(count) + random.random()) / count, side="right").clip(max=count - 1)
        random.shuffle(order)
        seeds = random.integers(2**62, size=count)
        keys = [SampleKey(int(index), int(seed)) for index, seed in zip(order, seeds, strict=True)]
        for batch in range(self._skip, self.batches_per_epoch):
            yield keys[batch * self._batch_size : (batch + 1) * self._batch_size]
