"""Check the boxes of one image and number its classes; all formats use this module."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted, is_well_formed, well_formed
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.shards import ShardPart
from mmpnet.datasets.types import BACKGROUND, Dataset, LabeledImage

BORDER_TOLERANCE_PX = 1.0
"""Boxes may extend beyond the image by this much, as rounding causes, and are clipped. Beyond that is an error."""

_FEW_PX = 8
"""In a larger image, a box of one px is no object."""

XYXY: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """One object as its file states it: a checked box and the name of its class."""

    xyxy: XYXY
    class_name: str
    area_px2: float | None = None
    crowd: bool = False
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One image and its objects, before classes have numbers."""

    path: Path
    image_hw: tuple[int, int]
    labels: Sequence[Label]
    tags: tuple[str, ...] = ()
    source: str | None = None
    shard: ShardPart | None = None


def checked_xyxy(xyxy: XYXY, image_hw: tuple[int, int], *, stated: Sequence[float], where: str) -> XYXY:
    """Clip a box to its image of (height, width) px; `stated` are the numbers in the file.

    Raises: DatasetError, beginning with `where`, if a number is not finite, the box has no area (also as float32, as
    training takes logarithms of its sides) or it extends beyond the image by more than BORDER_TOLERANCE_PX.
    """
    if not all(math.isfinite(number) for number in stated):
        raise DatasetError(f"{where} is not finite; correct or remove it")
    x1, y1, x2, y2 = xyxy
    if not (x2 > x1 and y2 > y1):
        raise DatasetError(f"{where} has no area; expected width and height above 0")
    height, width = image_hw
    outside_px = max(-x1, -y1, x2 - width, y2 - height)
    if outside_px > BORDER_TOLERANCE_PX:
        raise DatasetError(
            f"{where} extends beyond its {width}x{height} px image by {outside_px:.6g} px; correct or remove it"
        )
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    as_stored = np.array(clipped, np.float32)
    if not (as_stored[2:] > as_stored[:2]).all():
        raise DatasetError(f"{where} has no area inside its image; correct or remove it")
    return clipped


def checked_score(score: float, *, where: str) -> float:
    """Check the confidence of a label.

    Raises: DatasetError, beginning with `where`, if it is not in (0, 1].
    """
    if not 0 < score <= 1:
        raise DatasetError(f"{where}: score {score} is not in (0, 1]; correct or remove it")
    return score


def check_class_names(names: Sequence[str], *, where: str) -> None:
    """Raises: DatasetError naming WHERE[index] if a name is empty, occurs twice, is no UTF-8, or is reserved for the
    background."""
    for index, name in enumerate(names):
        if not is_well_formed(name):
            raise DatasetError(f"{where}[{index}]: the name {well_formed(name)!r} is no UTF-8 text; rename it")
        if not name or name == BACKGROUND or name in names[:index]:
            fault = "is reserved" if name == BACKGROUND else "occurs twice" if name else "is empty"
            raise DatasetError(f"{where}[{index}]: the name {name!r} {fault}; rename it, or remove it and its boxes")


def class_names_of(entries: Sequence[Entry]) -> list[str]:
    """Class names in alphabetical order, for formats without a list of classes."""
    return sorted({label.class_name for entry in entries for label in entry.labels})


def assemble(
    path: Path,
    *,
    name: str,
    class_names: Sequence[str],
    entries: Sequence[Entry],
    sha256: str,
    faults: Faults,
    notes: Sequence[str] = (),
    may_lack_classes: bool = False,
) -> Dataset:
    """Build a Dataset with classes numbered from 1 in the given order, and a note about boxes that occur twice.

    may_lack_classes: for formats that name classes only with their objects, so that images of background alone have
    none; they can be mixed with others.

    Raises: DatasetError if there are no images or no classes.
    """
    with faults:
        if not entries or not (class_names or may_lack_classes):
            raise DatasetError(f"{path}: has no images or no categories; expected at least one of each")
    with faults:
        _require_pixels(path, entries)
    names = (BACKGROUND, *class_names)
    class_ids = {class_name: class_id for class_id, class_name in enumerate(names)}
    images = tuple(_image(entry, class_ids) for entry in entries)
    return Dataset(
        path=path,
        name=well_formed(name),
        class_names=names,
        images=images,
        sha256=sha256,
        notes=(*notes, *_repeats_note(path, entries)),
    )


def _require_pixels(path: Path, entries: Sequence[Entry]) -> None:
    """Raises: DatasetError if all boxes lie in the first pixel of their images: they are fractions of the image."""
    boxes = [label.xyxy for entry in entries if min(entry.image_hw) > _FEW_PX for label in entry.labels]
    if boxes and all(max(xyxy) <= 1 for xyxy in boxes):
        raise DatasetError(
            f"{path}: no box extends beyond 1 px, so they seem to be fractions of the image; expected px"
        )


def _repeats_note(path: Path, entries: Sequence[Entry]) -> list[str]:
    repeats = [
        (entry.path, len(entry.labels) - len({(label.class_name, label.xyxy) for label in entry.labels}))
        for entry in entries
    ]
    total = sum(count for _, count in repeats)
    if not total:
        return []
    first = next(image.name for image, count in repeats if count)
    return [
        f"{path}: {counted(total, 'box', ('repeats', 'repeat'))} another one of their image and class, "
        f"such as in {first}; each counts as an object, so a detector misses them; remove them"
    ]


def _image(entry: Entry, class_ids: dict[str, int]) -> LabeledImage:
    labels = entry.labels
    xyxy = np.array([label.xyxy for label in labels], np.float32).reshape(-1, 4)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    areas = [
        float(w * h) if label.area_px2 is None else label.area_px2 for label, (w, h) in zip(labels, sides, strict=True)
    ]
    return LabeledImage(
        path=entry.path,
        image_hw=entry.image_hw,
        boxes_xyxy=xyxy,
        class_ids=np.array([class_ids[label.class_name] for label in labels], np.int64),
        areas_px2=np.array(areas, np.float32),
        crowd=np.array([label.crowd for label in labels], np.bool_),
        scores=np.array([label.score for label in labels], np.float32),
        tags=tuple(map(well_formed, entry.tags)),
        source=None if entry.source is None else well_formed(entry.source),
        shard=entry.shard,
    )
