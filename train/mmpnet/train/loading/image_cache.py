"""A cache of decoded images in one memory-mapped file."""

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.types import LabeledImage
from mmpnet.system.files import remove
from mmpnet.system.machine import whole_cores
from mmpnet.system.progress import Progress, no_progress

MEMORY_SHARE = 0.4
"""`auto` caches images that fit into this share of the memory; more of them would be read from the disk again in every
epoch."""
_DECODED_AT_ONCE = 256


class StoredImages:
    """Images of a training, shrunk to `longest_px`, decoded each time they are read."""

    def __init__(self, images: Sequence[LabeledImage], longest_px: int) -> None:
        self._images = images
        self._longest_px = longest_px

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> tuple[UInt8Array, FloatArray]:
        """Return the pixels (h, w, 3) BGR after shrinking, and the boxes (N, 4) of all labels in their px.

        Raises: DatasetError if the file is unreadable or of another size than its entry says.
        """
        image = self._images[index]
        (full_h, full_w), (height, width) = image.image_hw, self.shape(index)[:2]
        return self.pixels(index), image.boxes_xyxy * np.array([width / full_w, height / full_h] * 2, np.float32)

    def pixels(self, index: int) -> UInt8Array:
        """Return the pixels (h, w, 3) BGR, which may be read-only."""
        frame_bgr = self._images[index].read()
        shape = self.shape(index)
        if frame_bgr.shape == shape:
            return frame_bgr
        return np.asarray(cv2.resize(frame_bgr, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)

    def shape(self, index: int) -> tuple[int, int, int]:
        """(h, w, 3) after shrinking."""
        height, width = self._images[index].image_hw
        scale = min(self._longest_px / max(height, width), 1)
        return max(round(height * scale), 1), max(round(width * scale), 1), 3

    def num_bytes(self) -> int:
        """Return the size of all decoded images."""
        return sum(int(np.prod(self.shape(index))) for index in range(len(self)))

    def close(self) -> None:
        """Do nothing, because no file is open."""


class CachedImages(StoredImages):
    """Images that are decoded once, into a file that every loader process maps; `close` removes the file."""

    def __init__(self, images: Sequence[LabeledImage], longest_px: int, file: Path) -> None:
        super().__init__(images, longest_px)
        self._file = file
        self._filled_here = False
        sizes = [int(np.prod(self.shape(index))) for index in range(len(self))]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._map: np.memmap[Any, np.dtype[np.uint8]] | None = None

    def fill(self, *, progress: Progress = no_progress) -> None:
        """Decode every image into the file; one process on each machine does so.

        Raises: DatasetError for the first bad image, TrainingError if the file cannot be written.
        """
        try:
            with self._file.open("wb") as out:
                decoded = self._decoded()
                for _ in progress(range(len(self)), "decoding"):
                    out.write(np.ascontiguousarray(next(decoded)).data)
            self._filled_here = True
        except BaseException as error:
            remove(self._file)
            if isinstance(error, OSError):
                raise TrainingError(
                    f"{self._file}: decoded images cannot be written ({error.strerror}); free "
                    f"{self._starts[-1] / 1e9:.1f} GB, or give --cache off"
                ) from error
            raise

    def _decoded(self) -> Iterator[UInt8Array]:
        with ThreadPoolExecutor(whole_cores()) as pool:
            for start in range(0, len(self), _DECODED_AT_ONCE):
                yield from pool.map(super().pixels, range(start, min(start + _DECODED_AT_ONCE, len(self))))

    def pixels(self, index: int) -> UInt8Array:
        if self._map is None:
            self._map = np.memmap(self._file, np.uint8, mode="r")
        return self._map[self._starts[index] : self._starts[index + 1]].reshape(self.shape(index))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # a loader process maps the file itself

    def close(self) -> None:
        self._map = None
        if self._filled_here:
            remove(self._file)


def fits(needed_bytes: int, folder: Path) -> bool:
    """Return whether decoded images of this size fit into a share of the memory and onto the disk of the folder."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return needed_bytes < MEMORY_SHARE * memory and needed_bytes < 0.8 * shutil.disk_usage(folder).free
