"""A small MNIST, generated for the tests."""

from pathlib import Path

import numpy as np
import pytest

from support.idx_writer import write_idx


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves, gzipped: bright blobs away from the center, with a brightness that depends on the half."""
    folder = tmp_path_factory.mktemp("mnist")
    for seed, (stem, count) in enumerate((("train", 30), ("t10k", 20))):
        random = np.random.default_rng(seed)
        images = np.zeros((count, 28, 28), np.uint8)
        for image in images:
            x, y = random.integers(2, 12, size=2)
            w, h = random.integers(6, 14, size=2)
            image[y : y + h, x : x + w] = 120 + 100 * seed
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", random.permutation(np.arange(count) % 10))
    return folder
