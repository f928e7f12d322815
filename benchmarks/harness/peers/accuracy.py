"""The accuracy of contestants on several labeled sets, and on the sources within a set."""

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
from mmpnet.evaluation.evaluate import detect_all, require_measurable
from mmpnet.evaluation.results import Part, PartResult, measure_parts, parts_of

ACCURACIES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""In a result's rows, None where a size range has no boxes."""


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """A labeled set, and its parts: all images, then each source where they are wanted."""

    dataset: Dataset
    parts: tuple[Part, ...]


def open_sets(paths: Sequence[Path], *, by_source: Sequence[Path], limit: int | None) -> list[MeasuredSet]:
    """The val split of each dataset; those of `by_source` with their sources.

    Raises: DatasetError for bad data; MmpnetError if two sets have one name.
    """
    datasets = [evenly_spaced(open_dataset(path, "val"), limit) for path in paths]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) != len(names):
        raise MmpnetError(f"datasets must have different names, got {', '.join(names)}")
    pairs = zip(paths, datasets, strict=True)
    return [MeasuredSet(dataset, parts_of([dataset], by_source=path in by_source)) for path, dataset in pairs]


def contestant_results(contestant: Contestant, measured: MeasuredSet, what: str) -> tuple[PartResult, ...]:
    """The evaluation of each part; `what` names the progress bar. The contestant sees each image once.

    Raises: DatasetError if there is nothing to measure, or for an image that cannot be read.
    """
    to_category = require_measurable(measured.dataset, CLASS_NAMES)
    found = detect_all(contestant, measured.dataset, to_category, progress=progress_named(what))
    return measure_parts(measured.dataset, found, sorted(to_category.values()), measured.parts, None)


def part_name(part: Part) -> str:
    """The set's name, with the source where the part is one."""
    return part.data or "" if part.source is None else f"{part.data}: {part.source}"


def part_numbers(result: PartResult) -> dict[str, float | None]:
    """ACCURACIES of one part, rounded."""
    values = {name: result.evaluation.coco[name] for name in ACCURACIES}
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def part_facts(result: PartResult, dataset: Dataset) -> dict[str, Any]:
    """What a part is, for the document."""
    return {
        "name": part_name(result.part),
        "set": result.part.data,
        "part": result.part.source,
        "images": result.evaluation.n_images,
        "boxes": result.evaluation.n_boxes,
        "sha256": dataset.sha256,
    }
