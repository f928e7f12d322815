"""COCO files of selected images, for the run and the proof, and general images against forgetting."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmpnet.contract.text import well_formed_values
from mmpnet.datasets.coco_entries import annotation_entries, category_entries, image_entry
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.types import LabeledImage
from mmpnet.system.files import atomic_write

REPLAYED_PER_IMAGE, LEAST_REPLAYED = 4, 200
"""General images to learn beside each image of the camera, and at least."""
MEASURED, CHOOSING = 300, 150
"""General images for the proof, and, others than those, to choose how much of the training is kept; at most."""


@dataclass(frozen=True, slots=True)
class GeneralImages:
    """General images to learn again, to choose by, and to measure; none is in two of them."""

    learned: tuple[LabeledImage, ...]
    choosing: tuple[LabeledImage, ...]
    measured: tuple[LabeledImage, ...]


def write_images(path: Path, images: Sequence[LabeledImage], class_names: Sequence[str], *, group: str) -> None:
    """Write a COCO JSON of images where they are. Raises: OutputError if it cannot be written."""
    entries = [
        image_entry(
            number,
            replace(image, tags=(group,), source=None, shard=image.shard and image.shard.absolute()),
            os.fspath(image.path.resolve()),
        )
        for number, image in enumerate(images, 1)
    ]
    document = {
        "categories": category_entries(class_names),
        "images": entries,
        "annotations": list(annotation_entries(images)),
    }
    with atomic_write(path, parents=True) as partial:
        partial.write_text(json.dumps(well_formed_values(document)), encoding="utf-8")


def general_images(paths: Sequence[Path], class_names: Sequence[str], *, camera_count: int) -> GeneralImages:
    """General images to learn again, and others to choose by and to measure: those of the val splits, or a fifth of
    those without one. Every third of these is to choose by.

    Raises: DatasetError for bad data.
    """
    learned: list[LabeledImage] = []
    measured: list[LabeledImage] = []
    for path in paths:
        images = load_dataset([path], "train", class_names[1:], allow_absent=True, undivided=True).images
        if path.is_dir() and has_split(path, "val"):
            learned += images
            measured += load_dataset([path], "val", class_names[1:], allow_absent=True).images
        else:
            learned += [image for row, image in enumerate(images) if row % 5]
            measured += images[::5]
    return GeneralImages(
        spread(learned, max(REPLAYED_PER_IMAGE * camera_count, LEAST_REPLAYED)),
        spread(measured[::3], CHOOSING),
        spread([image for row, image in enumerate(measured) if row % 3], MEASURED),
    )


def spread(images: Sequence[LabeledImage], most: int) -> tuple[LabeledImage, ...]:
    """At most this number of images, evenly spaced."""
    if len(images) <= most:
        return tuple(images)
    return tuple(images[round(row * len(images) / most)] for row in range(most))
