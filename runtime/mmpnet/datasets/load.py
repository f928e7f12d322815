"""Read one or more datasets and report their faults."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.splits import Split
from mmpnet.datasets.transform import alike_names_note, mix, select_classes
from mmpnet.datasets.types import Dataset


def read_apart(paths: Sequence[Path], split: Split, classes: Sequence[str] = ()) -> tuple[Dataset, ...]:
    """Load each dataset separately; joined in order, their images, classes and notes are those of `load_dataset`. The
    first one has the notes of all.

    Raises: as `load_dataset`.
    """
    _require_distinct(paths)
    found = [open_dataset(path, split) for path in paths]
    mixed = mix(found)
    _require_classes(mixed)
    mixed = _selected(mixed, classes)
    ends = [sum(len(one.images) for one in found[: index + 1]) for index in range(len(found))]
    return tuple(
        replace(
            one,
            class_names=mixed.class_names,
            images=mixed.images[end - len(one.images) : end],
            notes=() if index else mixed.notes,
        )
        for index, (one, end) in enumerate(zip(found, ends, strict=True))
    )


def load_dataset(
    paths: Sequence[Path],
    split: Split,
    classes: Sequence[str] = (),
    *,
    allow_absent: bool = False,
    undivided: bool = False,
    faults: Faults = STRICT,
) -> Dataset:
    """Read what `--data A --data B --classes person` requests: the splits mixed, then the classes, by default all.

    undivided: a folder without splits counts as any split.

    Raises: DatasetError, MissingExtraError as `open_dataset`; ValueError, DatasetError as `select_classes`;
    DatasetError for a path that occurs twice.
    """
    _require_distinct(paths)
    dataset = mix([open_dataset(path, split, faults, undivided=undivided) for path in paths])
    with faults:
        _require_classes(dataset)
    return _selected(dataset, classes, allow_absent=allow_absent)


def _selected(dataset: Dataset, classes: Sequence[str], *, allow_absent: bool = False) -> Dataset:
    """The requested classes, with a note about names that may mean the same class."""
    alike = alike_names_note(dataset, classes)
    chosen = select_classes(dataset, classes, allow_absent=allow_absent) if classes else dataset
    return replace(chosen, notes=(*chosen.notes, *alike))


def _require_classes(dataset: Dataset) -> None:
    """Raises: DatasetError if there is no class, because no image has an object."""
    if len(dataset.class_names) == 1:
        raise DatasetError(
            f"{dataset.path}: has no images or no categories, as none of its {len(dataset.images)} images has an "
            "object; mix it with others that do"
        )


def _require_distinct(paths: Sequence[Path]) -> None:
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(paths):
        if resolved[index] in resolved[:index]:
            raise DatasetError(f"{path}: is given twice; give it once")
