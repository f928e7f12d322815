"""The order of images in an epoch, as a function of seed and epoch, so that a resumed run repeats it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.types import LabeledImage

SCALE_STEP_PX = 32
"""Difference of two input sizes: the stride of the coarsest map, so that no side of it is padded."""


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One draw: the index of the image, those of the other images in its mosaic if there is one, the input size, and
    the seed of everything else that is random."""

    index: int
    seed: int
    input_hw: tuple[int, int]
    partners: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """What varies from sample to sample in an epoch: the share of mosaics, how many images are along a side (drawn
    from mosaic_grids), and the input sizes drawn for each batch."""

    input_sizes: tuple[tuple[int, int], ...]
    mosaic: float = 0.0
    mosaic_grids: tuple[int, ...] = (2,)


def input_sizes(input_hw: tuple[int, int], spread: float) -> tuple[tuple[int, int], ...]:
    """Return the input size, and for a spread above 0 the sizes from 1 - spread to 1 + spread of it in steps of 32
    px."""
    shorter, px = min(input_hw), SCALE_STEP_PX
    steps = int(spread * shorter / px)
    factors = [1 + step * px / shorter for step in range(-steps, steps + 1)]
    around = [tuple(max(round(side * factor / px), 1) * px for side in input_hw) for factor in factors if factor != 1]
    return (input_hw, *((height, width) for height, width in around))


def generator(*key: int) -> Generator:
    """Return a numpy generator that depends on every number of the key, such as (seed, epoch)."""
    return Generator(PCG64(SeedSequence(key)))


def image_weights(images: Sequence[LabeledImage], group_weights: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
    """Return the sampling weight of each image (N,), mean 1: the product of the weights whose pattern matches one of
    its tags.

    Raises: TrainingError if a pattern matches no image, a weight is not positive and finite.
    """
    weights = np.ones(len(images))
    for pattern, weight in group_weights:
        if not 0 < weight < float("inf"):
            raise TrainingError(f"group weight {pattern}={weight}: expected a number above 0")
        matches = [any(fnmatchcase(tag, pattern) for tag in image.tags) for image in images]
        if not any(matches):
            known = sorted({tag for image in images for tag in image.tags})
            shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "") if known else "none"
            raise TrainingError(f"group weight {pattern!r} matches no image; groups and sources here: {shown}")
        with np.errstate(over="ignore"):
            weights[matches] *= weight
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: NDArray[np.float64] = weights / weights.mean()
    if not (scaled > 0).all():
        raise TrainingError(f"group weights {list(group_weights)} are too far apart; expected numbers around 1")
    return scaled


class EpochSampler(Sampler[list[SampleKey]]):
    """Batches of one epoch: as many draws as there are images, each image as often as its weight says, within one draw.

    The last, smaller batch is dropped unless it is the only one.

    Args:
        weights: sampling weight of each image (N,).
        plan: what varies from sample to sample.
        batch_size: images of a batch, over all processes.
        seed, epoch: decide every draw.
        skip: number of batches that an interrupted run has already used.
        shard: the rank of this process and the number of processes that share each batch.
    """

    def __init__(
        self,
        weights: NDArray[np.float64],
        plan: EpochPlan,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        skip: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self._weights = weights
        self._plan = plan
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._skip = skip
        self._rank, self._world = shard

    @property
    def batches_per_epoch(self) -> int:
        return max(len(self._weights) // self._batch_size, 1)

    def __len__(self) -> int:
        return self.batches_per_epoch - self._skip

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch in self._batches()[self._skip : self.batches_per_epoch]:
            yield batch[self._rank :: self._world]

    def _batches(self) -> list[list[SampleKey]]:
        count, size = len(self._weights), self._batch_size
        random = generator(self._seed, self._epoch)
        # Systematic resampling: each image is drawn nearly as often as its weight says, unlike in independent draws.
        order = self._drawn((np.arange(count) + random.random()) / count)
        random.shuffle(order)
        seeds = random.integers(2**62, size=count)
        in_mosaic = random.random(count) < self._plan.mosaic
        grids = self._plan.mosaic_grids
        partners = self._drawn(random.random((count, max(grids) ** 2 - 1)))
        sizes = random.integers(len(self._plan.input_sizes), size=-(-count // size))
        num_partners = np.array(grids)[random.integers(len(grids), size=count)] ** 2 - 1
        keys = [
            SampleKey(
                index=int(order[draw]),
                seed=int(seeds[draw]),
                input_hw=self._plan.input_sizes[sizes[draw // size]],
                partners=tuple(partners[draw, : num_partners[draw]].tolist()) if in_mosaic[draw] else (),
            )
            for draw in range(count)
        ]
        return [keys[start : start + size] for start in range(0, count, size)]

    def _drawn(self, quantiles: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the image indices at quantiles in [0, 1) of the summed weights, same shape."""
        edges = np.cumsum(self._weights) / self._weights.sum()
        return np.searchsorted(edges, quantiles, side="right").clip(max=len(self._weights) - 1)
