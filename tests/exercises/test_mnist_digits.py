"""MNIST's files are read exactly, or refused in one line."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mnist_digits import read_digits, read_idx
from support.idx_writer import write_idx


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_every_byte_comes_back(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    found = read_idx(write_idx(tmp_path / name, values), dimensions=3)
    np.testing.assert_array_equal(found, values)


def test_both_halves_are_read_with_their_own_digits(mnist_folder: Path) -> None:
    train, test = read_digits(mnist_folder, "train"), read_digits(mnist_folder, "test")
    assert train.images.shape == (30, 28, 28)
    assert test.labels.shape == (20,)
    assert (train.images.max(), test.images.max()) == (120, 220)
    assert train.sha256 != test.sha256


def test_unpacked_files_are_the_same_digits(mnist_folder: Path, tmp_path: Path) -> None:
    for path in mnist_folder.glob("t10k*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert read_digits(tmp_path, "test").sha256 == read_digits(mnist_folder, "test").sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x08", "starts with 00 00 08"),
        (b"\x00\x00\x0d\x01" + b"\x00\x00\x00\x01" + b"\x00" * 4, "00 00 0d 01"),
        (b"\x00\x00\x08\x02" + b"\x00\x00\x00\x01" * 2 + b"\x00", "1 dimensions"),
        (b"\x00\x00\x08\x01" + b"\x00\x00\x00\x05" + b"abc", "only 3"),
        (b"\x00\x00\x08\x01" + b"\x00\x00\x00\x02" + b"abc", "it has more"),
        (b"\x00\x00\x08\x01" + b"\xff\xff\xff\xff" + b"abc", "only 3"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("labels.gz" if packed else "labels")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DatasetError, match=message):
        read_idx(path, dimensions=1)


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_damaged_gzip_is_refused(tmp_path: Path, mnist_folder: Path, damage: str) -> None:
    path = tmp_path / "damaged.gz"
    content = bytearray((mnist_folder / "train-images-idx3-ubyte.gz").read_bytes())
    if damage == "cut":
        del content[-30:]
    elif damage == "no gzip":
        content = bytearray(b"not gzip at all")
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"damaged\.gz"):
        read_idx(path, dimensions=3)


def test_halves_that_do_not_fit_are_refused(tmp_path: Path, mnist_folder: Path) -> None:
    shutil.copytree(mnist_folder, tmp_path / "m")
    labels = tmp_path / "m" / "train-labels-idx1-ubyte.gz"
    images = tmp_path / "m" / "train-images-idx3-ubyte.gz"
    write_idx(labels, np.zeros(29, np.uint8))
    with pytest.raises(DatasetError, match="29 labels for 30 digits"):
        read_digits(tmp_path / "m", "train")
    write_idx(labels, np.full(30, 10, np.uint8))
    with pytest.raises(DatasetError, match="label 10 is not a digit"):
        read_digits(tmp_path / "m", "train")
    write_idx(labels, np.zeros(30, np.uint8))
    write_idx(images, np.ones((30, 28, 27), np.uint8))
    with pytest.raises(DatasetError, match="expected 28x28"):
        read_digits(tmp_path / "m", "train")
    blank = np.ones((30, 28, 28), np.uint8)
    blank[4] = 0
    write_idx(images, blank)
    with pytest.raises(DatasetError, match="digit 4 has no ink"):
        read_digits(tmp_path / "m", "train")
    images.unlink()
    with pytest.raises(DatasetError, match="--mnist"):
        read_digits(tmp_path / "m", "train")
