"""Pack labeled images into shards: few large files instead of many small ones, read one image at a time."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import well_formed, well_formed_values
from mmpnet.datasets.coco_entries import annotation_entries, category_entries, image_entry
from mmpnet.datasets.shards import SHARD_BYTES, write_shards
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.system.addresses import writing
from mmpnet.system.files import atomic_write
from mmpnet.system.progress import Progress, no_progress

QUALITY = 80
"""Of the WebP images if they are made smaller."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Number of images and shards of a split, and bytes of its shards' images."""

    images: int
    shards: int
    image_bytes: int


def pack_split(
    dataset: Dataset,
    split: Split,
    folder: Path,
    *,
    address: str | None = None,
    longest_px: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = no_progress,
) -> Packed:
    """Write FOLDER/SPLIT.json and the shards SPLIT-00000.tar, ... beside it, or behind an address.

    Without `longest_px` the shards have the bytes of the image files, so that training reads the same pixels. With it
    images become WebP of at most that many px along their longer side.

    Raises: DatasetError for the first bad image, OutputError if something cannot be written, MissingExtraError.
    """
    names = unique_names(dataset.images, suffix=".webp" if longest_px else None)
    packed: list[LabeledImage] = []

    def contents() -> Iterator[tuple[str, bytes]]:
        for name, image in zip(names, progress(dataset.images, f"packing {split}"), strict=True):
            content = image.content()
            pixels = image.decoded(content)
            if longest_px:
                image, content = _shrunk(image, pixels, longest_px)
            packed.append(image)
            yield name, content

    @contextmanager
    def opened(number: int) -> Iterator[tuple[str, Any]]:
        name = f"{split}-{number:05d}.tar"
        if address is not None:
            with writing(f"{address.rstrip('/')}/{name}", error=OutputError) as file:
                yield name, file
        else:
            with atomic_write(folder / name, parents=True) as partial, partial.open("wb") as file:
                yield name, file

    parts = list(write_shards(contents(), opened, shard_bytes=shard_bytes))
    placed = [replace(image, shard=part) for image, part in zip(packed, parts, strict=True)]
    document: dict[str, Any] = {
        **({} if address is None else {"shards": address}),
        "categories": category_entries(dataset.class_names),
        "images": [
            image_entry(number, image, name) for number, (image, name) in enumerate(zip(placed, names, strict=True), 1)
        ],
        "annotations": list(annotation_entries(placed)),
    }
    with atomic_write(folder / f"{split}.json", parents=True) as partial:
        partial.write_text(json.dumps(well_formed_values(document)), encoding="utf-8")
    return Packed(len(parts), len({part.shard for part in parts}), sum(part.size for part in parts))


def unique_names(images: Sequence[LabeledImage], *, suffix: str | None = None) -> list[str]:
    """The names of the files, with another suffix if one is given; a name that occurred before gets a number."""
    names: dict[str, None] = {}
    for number, image in enumerate(images, 1):
        path = Path(well_formed(image.path.name))
        name = path.with_suffix(suffix).name if suffix else path.name
        while name in names:
            name = f"{number:08d}-{name}"
        names[name] = None
    return list(names)


def _shrunk(
    image: LabeledImage, pixels_bgr: "np.ndarray[Any, np.dtype[np.uint8]]", longest_px: int
) -> tuple[LabeledImage, bytes]:
    """The image with its labels in the px of a smaller copy, and that copy as WebP."""
    height, width = image.image_hw
    scale = min(1.0, longest_px / max(height, width))
    small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < 1.0:
        pixels_bgr = np.asarray(cv2.resize(pixels_bgr, (small_w, small_h), interpolation=cv2.INTER_AREA), np.uint8)
    _, content = cv2.imencode(".webp", pixels_bgr, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    factors = np.array([small_w / width, small_h / height] * 2, np.float32)
    labels = replace(
        image,
        image_hw=(small_h, small_w),
        boxes_xyxy=image.boxes_xyxy * factors,
        areas_px2=image.areas_px2 * factors[0] * factors[1],
    )
    return labels, content.tobytes()
