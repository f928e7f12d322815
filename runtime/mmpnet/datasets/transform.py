"""Select and rename classes, mix datasets, and take subsets."""

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain

import numpy as np

from mmpnet.contract.arrays import IntArray
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.types import BACKGROUND, Dataset, LabeledImage

_SHOWN_CLASSES = 5


@dataclass(frozen=True, slots=True)
class WantedClass:
    """A class of the result and its names in the data."""

    name: str
    members: tuple[str, ...]


def parse_classes(texts: Sequence[str]) -> tuple[WantedClass, ...]:
    """Parse `["person", "vehicle=car,truck"]`; a text may list several classes that stay separate: `["person,car"]`.

    Raises: ValueError if a name is missing, `background`, or occurs twice.
    """
    wanted: list[WantedClass] = []
    for text in texts:
        name, merges, members = text.partition("=")
        names = tuple(part.strip() for part in (members if merges else name).split(","))
        wanted += [WantedClass(name.strip(), names)] if merges else [WantedClass(one, (one,)) for one in names]
    for what in ([one.name for one in wanted], list(chain.from_iterable(one.members for one in wanted))):
        for index, name in enumerate(what):
            if not name or name == BACKGROUND or name in what[:index]:
                fault = "occurs twice" if name in what[:index] else "is not a class"
                raise ValueError(f"classes {' '.join(texts)}: {name!r} {fault}; expected NAME or NAME=OLD,OLDER")
    return tuple(wanted)


def select_classes(dataset: Dataset, classes: Sequence[str], *, allow_absent: bool = False) -> Dataset:
    """Keep only these classes, in this order, merged as requested. Images without any of them stay, as background.

    `allow_absent` is for a validation set, which may lack a class of the training set. A note says which boxes are left
    out.

    Raises: DatasetError if the dataset does not have a class, or has one with the name of merged classes that is not
    merged; ValueError as `parse_classes`.
    """
    wanted = parse_classes(classes)
    _require_no_lost_namesake(dataset, wanted)
    new_ids = np.zeros(len(dataset.class_names), np.int64)  # 0: not selected
    for class_id, one in enumerate(wanted, start=1):
        for member in one.members:
            if member in dataset.class_names:
                new_ids[dataset.class_names.index(member)] = class_id
            elif not allow_absent:
                known = ", ".join(dataset.class_names[1:])
                raise DatasetError(f"{dataset.name}: has no class {member!r}; it has {known}")
    return replace(
        dataset,
        class_names=(BACKGROUND, *(one.name for one in wanted)),
        images=tuple(renumbered(image, new_ids) for image in dataset.images),
        notes=(*dataset.notes, *_left_out_note(dataset, new_ids)),
    )


def _require_no_lost_namesake(dataset: Dataset, wanted: Sequence[WantedClass]) -> None:
    """Raises: DatasetError for `person=pedestrian` where the dataset has boxes of `person` too."""
    members = {member for one in wanted for member in one.members}
    for one in wanted:
        if one.name in dataset.class_names and one.name not in members:
            count = _boxes_per_class(dataset)[dataset.class_names.index(one.name)]
            merged = ",".join((one.name, *one.members))
            raise DatasetError(
                f"{dataset.name}: --classes {one.name}={','.join(one.members)} leaves out its own "
                f"{counted(count, 'box')} of {one.name!r}; write {one.name}={merged}, or choose another name"
            )


def _left_out_note(dataset: Dataset, new_ids: IntArray) -> list[str]:
    """A note about boxes of classes that were not selected; empty if there are none."""
    counts = _boxes_per_class(dataset)
    lost = [(dataset.class_names[i], counts[i]) for i in range(1, len(counts)) if not new_ids[i] and counts[i]]
    if not lost:
        return []
    lost.sort(key=lambda one: -one[1])
    shown = ", ".join(f"{counted(count, 'box')} of {name}" for name, count in lost[:_SHOWN_CLASSES])
    others = lost[_SHOWN_CLASSES:]
    boxes = counted(sum(count for _, count in others), "box")
    rest = f", {boxes} of {counted(len(others), 'other class')}" if others else ""
    return [f"{dataset.name}: --classes leaves out {shown}{rest}"]


def alike_names_note(dataset: Dataset, classes: Sequence[str]) -> list[str]:
    """A note about classes whose names differ only in case, spaces, `-` or `_`, as the names of several tools do, and
    that `classes` neither merges nor lists both.

    Raises: ValueError as `parse_classes`.
    """
    alike: dict[str, list[str]] = {}
    for name in dataset.class_names[1:]:
        alike.setdefault(re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold(), []).append(
            name
        )
    listed = {member for one in parse_classes(classes) for member in one.members}
    apart = [names for names in alike.values() if len(names) > 1 and not listed.issuperset(names)]
    if classes:  # names that are not requested at all do not matter
        apart = [names for names in apart if listed.intersection(names)]
    return [
        f"{dataset.name}: {' and '.join(map(repr, names))} are different classes; if they mean the same, merge them: "
        f"--classes {shlex.quote(names[0] + '=' + ','.join(names))}"
        for names in apart
    ]


def _boxes_per_class(dataset: Dataset) -> list[int]:
    counts = np.zeros(len(dataset.class_names), np.int64)
    for image in dataset.images:
        counts += np.bincount(image.class_ids, minlength=len(counts))
    return list(map(int, counts))


def renumbered(image: LabeledImage, new_ids: IntArray) -> LabeledImage:
    """Replace each class id i by new_ids[i] and drop boxes that become 0; new_ids (classes,)."""
    class_ids = new_ids[image.class_ids]
    kept = class_ids > 0
    return replace(
        image,
        boxes_xyxy=image.boxes_xyxy[kept],
        class_ids=class_ids[kept],
        areas_px2=image.areas_px2[kept],
        crowd=image.crowd[kept],
        scores=image.scores[kept],
    )


def mix(datasets: Sequence[Dataset]) -> Dataset:
    """Join all images, in order; classes are matched by name and numbered in order of appearance.

    A single dataset is returned unchanged. Each image is tagged with the name of its dataset, so that sampling can
    weight the datasets. `path` is that of the first one.

    Raises: ValueError if there are none.
    """
    if not datasets:
        raise ValueError("there is nothing to mix; give at least one dataset")
    if len(datasets) == 1:
        return datasets[0]
    names = (BACKGROUND, *dict.fromkeys(name for one in datasets for name in one.class_names[1:]))
    images = []
    for one in datasets:
        new_ids = np.array([names.index(name) for name in one.class_names], np.int64)
        for image in one.images:
            images.append(replace(renumbered(image, new_ids), tags=(*image.tags, one.name)))
    return Dataset(
        path=datasets[0].path,
        name=" + ".join(one.name for one in datasets),
        class_names=names,
        images=tuple(images),
        sha256=sha256("\n".join(one.sha256 for one in datasets).encode()).hexdigest(),
        notes=tuple(note for one in datasets for note in one.notes),
    )


def evenly_spaced(dataset: Dataset, limit: int | None) -> Dataset:
    """At most `limit` images, evenly spaced over the dataset, in their order; all images for None.

    The first images would not do, because files are often sorted by source.
    """
    count = len(dataset.images)
    if limit is None or limit >= count:
        return dataset
    return replace(dataset, images=tuple(dataset.images[index * count // limit] for index in range(limit)))
