"""The accuracy of contestants on several labeled sets, and on the sources within a set."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.peers.contestants import CLASS_NAMES, Contestant
from harness.script import progress_named
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import detect_all, measure, require_measurable

ACCURACIES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""In a result's rows, None where a size range has no boxes."""


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """A labeled set, and the rows of its images by part: all of them under the set's name, then each source's."""

    dataset: Dataset
    parts: dict[str, tuple[int, ...]]

    def facts(self) -> list[dict[str, Any]]:
        """Each part's name and size, for the document."""
        facts = []
        for name, rows in self.parts.items():
            boxes = sum(_persons(self.dataset, row) for row in rows)
            part = None if name == self.dataset.name else name.removeprefix(f"{self.dataset.name}: ")
            facts.append({"name": name, "set": self.dataset.name, "part": part, "images": len(rows), "boxes": boxes})
        return [{**fact, "sha256": self.dataset.sha256} for fact in facts]


def open_sets(paths: Sequence[Path], *, by_source: Sequence[Path], limit: int | None) -> list[MeasuredSet]:
    """The val split of each data set; those of `by_source` with their sources, of which one without boxes is left out.

    Raises: DatasetError for bad data; MmpnetError if two sets have one name.
    """
    datasets = [evenly_spaced(open_dataset(path, "val"), limit) for path in paths]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) != len(names):
        raise MmpnetError(f"data sets must have different names, got {', '.join(names)}")
    pairs = zip(paths, datasets, strict=True)
    return [MeasuredSet(dataset, _parts(dataset, by_source=path in by_source)) for path, dataset in pairs]


def contestant_accuracy(contestant: Contestant, measured: MeasuredSet, what: str) -> dict[str, dict[str, Any]]:
    """ACCURACIES by part; `what` names the progress bar. The contestant sees each image once.

    Raises: DatasetError if there is nothing to measure, or for an image that cannot be read.
    """
    dataset = measured.dataset
    to_category = require_measurable(dataset, CLASS_NAMES)
    found = detect_all(contestant, dataset, to_category, progress=progress_named(what))
    numbers = {}
    for name, rows in measured.parts.items():
        part = dataclasses.replace(dataset, images=tuple(dataset.images[row] for row in rows))
        evaluation = measure(part, tuple(found[row] for row in rows), sorted(to_category.values()))
        values = {key: evaluation.coco[key] for key in ACCURACIES}
        numbers[name] = {key: None if value is None else round(value, 4) for key, value in values.items()}
    return numbers


def _parts(dataset: Dataset, *, by_source: bool) -> dict[str, tuple[int, ...]]:
    parts = {dataset.name: tuple(range(len(dataset.images)))}
    if not by_source:
        return parts
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(dataset.images):
        if image.tags:
            rows.setdefault(image.tags[-1], []).append(row)  # `group`, then `source`
    for source, chosen in sorted(rows.items()):
        if any(_persons(dataset, row) for row in chosen):
            parts[f"{dataset.name}: {source}"] = tuple(chosen)
    return parts


def _persons(dataset: Dataset, row: int) -> int:
    """Boxes of persons to find in one image; crowds do not count."""
    if CLASS_NAMES[1] not in dataset.class_names:
        return 0
    image, person = dataset.images[row], dataset.class_names.index(CLASS_NAMES[1])
    return int(((image.class_ids == person) & ~image.crowd).sum())
