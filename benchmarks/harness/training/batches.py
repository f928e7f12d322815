"""Endless batches from mmp-train's loader."""

import itertools
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.letterbox import PAD_VALUE
from mmpnet.datasets.types import Dataset
from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import CachedImages, StoredImages
from mmpnet.train.loading.loader import Batch, Recipe, TrainingImages, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler


def endless(
    dataset: Dataset, stored: StoredImages, *, batch: int, side_px: int, workers: int, pin_memory: bool = False
) -> Generator[Batch, None, None]:
    """Batches, epoch after epoch, each with loader processes of its own as in a run; closing it stops them.

    Raises: DatasetError for the first image that cannot be read.
    """
    augmentation = AUGMENTATIONS[RECIPE.loading.augmentation]
    recipe = Recipe(RECIPE.anchors, PAD_VALUE, RECIPE.loss.assignment, augmentation)
    images = TrainingImages(dataset.images, stored, recipe)
    plan = EpochPlan(input_sizes=((side_px, side_px),), mosaic=RECIPE.loading.mosaic)
    for epoch in itertools.count():
        sampler = EpochSampler(np.ones(len(images)), plan, batch_size=batch, seed=RECIPE.run.seed, epoch=epoch)
        for loaded in training_loader(images, sampler, workers=workers, pin_memory=pin_memory):
            if isinstance(loaded, DatasetError):
                raise loaded
            assert isinstance(loaded, Batch)
            yield loaded


@contextmanager
def image_stores(dataset: Dataset, side_px: int) -> Iterator[dict[str, StoredImages]]:
    """Where the pixels come from: `cache`, decoded once into a temporary file, and `files`, decoded every time.

    Raises: DatasetError for an image that cannot be read, TrainingError if the cache cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        cached = CachedImages(dataset.images, 2 * side_px, Path(folder) / "images.cache")
        cached.fill()
        try:
            yield {"cache": cached, "files": StoredImages(dataset.images, 2 * side_px)}
        finally:
            cached.close()
