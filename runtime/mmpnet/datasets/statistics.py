"""Statistics of a dataset at the input size of the network, with an optional check of every file."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.text import counted
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.media.image_size import is_turned

SIZE_EDGES_PX = (0, 8, 16, 32, 64, 128, 256)
"""Lower edges of the size ranges, sqrt(w*h) in px of the letterboxed input."""
LEAST_CONTRAST = 8
"""Gray levels; an image with fewer between its darkest and brightest hundredth shows nothing."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_JSON_KEYS = {"n_images": "n_pictures"}
"""The JSON key that `mmp-train --check --json` has used from the start; scripts read it."""

Progress = Callable[[Sequence[LabeledImage]], Iterator[LabeledImage]]


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Number of boxes with sqrt(w*h) in [from_px, to_px), in letterboxed input px; to_px None: no upper limit."""

    from_px: int
    to_px: int | None
    n_boxes: int


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Results of checking every file: one line per fault, and the SHA-1 of each image's bytes."""

    faults: tuple[str, ...]
    digests: dict[str, Path]
    copies: tuple[str, ...]
    """One line per image whose bytes equal those of an earlier one: a warning, not a fault."""
    notes: tuple[str, ...]
    """Lines about images without contrast and images that EXIF turns."""


@dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """Statistics of a dataset. Crowds are counted separately; sizes and ratios are those of all other boxes.

    min_wh and max_wh are the smallest and largest width and height in px, independently; None without images.
    aspect_ratios: h / w at each of QUANTILES; empty without boxes. files is None if the files were not checked.
    """

    name: str
    input_hw: tuple[int, int]
    n_images: int
    n_without_boxes: int
    boxes_per_class: dict[str, int]
    n_crowd: int
    min_wh: tuple[int, int] | None
    max_wh: tuple[int, int] | None
    sizes: tuple[SizeRange, ...]
    aspect_ratios: tuple[float, ...]
    notes: tuple[str, ...]
    faults: tuple[str, ...]
    files: FileCheck | None

    @property
    def all_faults(self) -> tuple[str, ...]:
        """Faults of labels, then of files."""
        return self.faults + (self.files.faults if self.files is not None else ())

    @property
    def ok(self) -> bool:
        return not self.all_faults

    def as_dict(self) -> dict[str, Any]:
        """The statistics as a JSON object."""
        plain = {_JSON_KEYS.get(key, key): value for key, value in asdict(self).items() if key != "files"}
        return {
            **plain,
            "aspect_ratios": dict(zip(map(str, QUANTILES), self.aspect_ratios, strict=False)),
            "faults": list(self.all_faults),
            "notes": [*self.notes, *(() if self.files is None else self.files.notes)],
            "copies": None if self.files is None else list(self.files.copies),
            "files_checked": self.files is not None,
        }


def dataset_statistics(
    dataset: Dataset,
    *,
    input_hw: tuple[int, int] = (320, 320),
    verify_files: bool = False,
    faults: Sequence[str] = (),
    progress: Progress = iter,
) -> DatasetStatistics:
    """Compute the statistics; `verify_files` also decodes every image. `faults` are those found in the labels."""
    boxes = _input_boxes(dataset, Letterbox(input_hw))
    sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2): width, height
    sizes_hw = np.array([image.image_hw for image in dataset.images], np.int64).reshape(-1, 2)
    return DatasetStatistics(
        name=dataset.name,
        input_hw=input_hw,
        n_images=len(dataset.images),
        n_without_boxes=sum(1 for image in dataset.images if not len(image.boxes_xyxy)),
        boxes_per_class=_boxes_per_class(dataset),
        n_crowd=sum(int(image.crowd.sum()) for image in dataset.images),
        min_wh=_wh(sizes_hw.min(axis=0)) if len(sizes_hw) else None,
        max_wh=_wh(sizes_hw.max(axis=0)) if len(sizes_hw) else None,
        sizes=_size_ranges(np.sqrt(sides.prod(axis=1))),
        aspect_ratios=tuple(np.quantile(sides[:, 1] / sides[:, 0], QUANTILES).tolist()) if len(sides) else (),
        notes=dataset.notes,
        faults=tuple(faults),
        files=check_files(dataset, progress=progress) if verify_files else None,
    )


def check_files(dataset: Dataset, *, progress: Progress = iter) -> FileCheck:
    """Decode every image, and find images with equal bytes."""
    faults = Faults(collect=True)
    digests: dict[str, Path] = {}
    copies: list[str] = []
    dull: list[Path] = []
    turned: list[Path] = []
    for image in progress(dataset.images):
        with faults:
            content = image.content()
            dull += [image.path] if _contrast(image.decoded(content)) < LEAST_CONTRAST else []
            turned += [image.path] if is_turned(content) else []
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            earlier = digests.setdefault(digest, image.path)
            if earlier != image.path:
                copies.append(f"{image.path}: is the same image as {earlier}")
    return FileCheck(faults=tuple(faults.found), digests=digests, copies=tuple(copies), notes=_file_notes(dull, turned))


def _contrast(image_bgr: UInt8Array) -> float:
    """Gray levels between the darkest and the brightest hundredth of an image (H, W, 3), from every fourth pixel."""
    low, high = np.percentile(image_bgr[::4, ::4], (1, 99))
    return float(high - low)


def _file_notes(dull: Sequence[Path], turned: Sequence[Path]) -> tuple[str, ...]:
    notes = []
    if dull:
        notes.append(
            f"{counted(len(dull), 'image', ('has', 'have'))} fewer than {LEAST_CONTRAST} gray levels, "
            f"such as {dull[0]}: they show nothing; look at them, and save them with more contrast or remove them"
        )
    if turned:
        notes.append(
            f"{counted(len(turned), 'image', ('is', 'are'))} turned or mirrored by EXIF, such as {turned[0]}: "
            "labels in pixels must be those of the upright image"
        )
    return tuple(notes)


def shared_images(train: DatasetStatistics, val: DatasetStatistics) -> tuple[str, ...]:
    """One line per image of `val` whose bytes `train` has as well: such images would measure memorization.

    Raises: ValueError if the files of one of them were not checked.
    """
    if train.files is None or val.files is None:
        raise ValueError("scan both with verify_files=True before comparing them")
    known = train.files.digests
    return tuple(
        f"{path}: is in {val.name} and also in {train.name} as {known[digest]}"
        for digest, path in val.files.digests.items()
        if digest in known
    )


def _input_boxes(dataset: Dataset, letterbox: Letterbox) -> FloatArray:
    """All boxes except crowds (N, 4), in input px."""
    placed = [letterbox.fit(image.image_hw).to_input(image.boxes_xyxy[~image.crowd]) for image in dataset.images]
    return np.concatenate([np.zeros((0, 4), np.float32), *placed])


def _boxes_per_class(dataset: Dataset) -> dict[str, int]:
    counts = np.zeros(len(dataset.class_names), np.int64)
    for image in dataset.images:
        counts += np.bincount(image.class_ids[~image.crowd], minlength=len(counts))
    return dict(zip(dataset.class_names[1:], counts[1:].tolist(), strict=True))


def _size_ranges(sizes_px: FloatArray) -> tuple[SizeRange, ...]:
    edges: list[int | None] = [*SIZE_EDGES_PX, None]
    counts, _ = np.histogram(sizes_px, bins=[*SIZE_EDGES_PX, np.inf])
    return tuple(
        SizeRange(lower or 0, upper, count)
        for (lower, upper), count in zip(pairwise(edges), counts.tolist(), strict=True)
    )


def _wh(size_hw: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[int, int]:
    return int(size_hw[1]), int(size_hw[0])
