"""A small MNIST of the tests' own."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteIdx = Callable[[Path, np.ndarray], Path]


def write_idx_file(path: Path, values: np.ndarray) -> Path:
    """Bytes as an idx file, gzipped where the name says so."""
    content = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content += values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(scope="session")
def write_idx() -> WriteIdx:
    """`write_idx_file`: (path, values) -> path."""
    return write_idx_file


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves, gzipped: bright blobs off the square's centre, of a brightness that depends on the half."""
    folder = tmp_path_factory.mktemp("mnist")
    for seed, (stem, count) in enumerate((("train", 30), ("t10k", 20))):
        random = np.random.default_rng(seed)
        pictures = np.zeros((count, 28, 28), np.uint8)
        for picture in pictures:
            x, y = random.integers(2, 12, size=2)
            w, h = random.integers(6, 14, size=2)
            picture[y : y + h, x : x + w] = 120 + 100 * seed
        write_idx_file(folder / f"{stem}-images-idx3-ubyte.gz", pictures)
        write_idx_file(folder / f"{stem}-labels-idx1-ubyte.gz", random.permutation(np.arange(count) % 10))
    return folder
