"""MNIST's idx files, plain or gzipped (format: LeCun, Cortes, Burges, "The MNIST database")."""

import gzip
import hashlib
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import DatasetError
from mmpnet.system.files import is_file

Split: TypeAlias = Literal["train", "test"]

SIDE_PX = 28
_STEMS = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTES = 0x08


@dataclass(frozen=True, slots=True)
class Digits:
    """Images (N, 28, 28) uint8, white ink on black, and their digits, (N,) uint8."""

    images: UInt8Array
    labels: UInt8Array
    sha256: str
    """Hash of the unpacked images and labels."""


def read_digits(folder: Path, split: Split) -> Digits:
    """Read one half of MNIST from its two idx files, `.gz` or not.

    Raises: DatasetError if a file is missing, damaged, or not what its name says.
    """
    stem = _STEMS[split]
    images_path = _existing(folder, f"{stem}-images-idx3-ubyte")
    labels_path = _existing(folder, f"{stem}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
    if images.shape[1:] != (SIDE_PX, SIDE_PX):
        raise DatasetError(f"{images_path}: digits are {images.shape[1:]} px, expected {SIDE_PX}x{SIDE_PX}")
    if len(images) != len(labels) or not len(images):
        raise DatasetError(
            f"{labels_path}: {len(labels)} labels for {len(images)} digits; take both files from one place"
        )
    if labels.max() > 9:
        raise DatasetError(f"{labels_path}: label {labels.max()} is not a digit; take MNIST's own files")
    blank = np.flatnonzero(~images.any(axis=(1, 2)))
    if len(blank):
        raise DatasetError(f"{images_path}: digit {blank[0]} has no ink; take MNIST's own files")
    sha256 = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Digits(images=images, labels=labels, sha256=sha256)


def read_idx(path: Path, *, dimensions: int) -> UInt8Array:
    """Read an idx file of unsigned bytes with this number of dimensions, big-endian header first.

    Raises: DatasetError if it is something else, cut short, or goes on after its end.
    """
    header_bytes = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(header_bytes)
            if len(header) < header_bytes or header[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]):
                raise DatasetError(
                    f"{path}: starts with {header[:4].hex(' ') or 'nothing'}, expected 00 00 08 {dimensions:02x}: "
                    f"an idx file of bytes in {dimensions} dimensions"
                )
            shape = struct.unpack(f">{dimensions}I", header[4:])
            expected = math.prod(shape)
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({' '.join(str(error).split())}); copy it again") from error
    if len(content) != expected:
        found = f"only {len(content)}" if len(content) < expected else "more"
        raise DatasetError(f"{path}: its header says {expected} bytes, it has {found}; copy it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if is_file(path):
            return path
    raise DatasetError(f"{folder / name}: not there, and no .gz either; --mnist takes a folder with MNIST's idx files")
