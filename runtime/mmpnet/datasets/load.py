"""Read a data set and report its faults."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import mix, select_classes
from mmpnet.datasets.types import Dataset, Split


def read_apart(paths: Sequence[Path], split: Split, classes: Sequence[str] = ()) -> tuple[Dataset, ...]:
    """Load each data set by itself; joined in order, their images are those of `load_dataset`, with the same classes.

    Raises: as `load_dataset`.
    """
    _require_distinct(paths)
    found = [open_dataset(path, split) for path in paths]
    mixed = mix(found)
    mixed = select_classes(mixed, classes) if classes else mixed
    ends = [sum(len(one.images) for one in found[: index + 1]) for index in range(len(found))]
    return tuple(
        replace(one, class_names=mixed.class_names, images=mixed.images[end - len(one.images) : end])
        for one, end in zip(found, ends, strict=True)
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
    """What `--data A --data B --classes person` means: the splits mixed, then the classes chosen; all without classes.

    undivided: a folder without splits may be any split.

    Raises: DatasetError, MissingExtraError as `open_dataset`; ValueError, DatasetError as `select_classes`;
    DatasetError for a path that is there twice.
    """
    _require_distinct(paths)
    dataset = mix([open_dataset(path, split, faults, undivided=undivided) for path in paths])
    return select_classes(dataset, classes, allow_absent=allow_absent) if classes else dataset


def _require_distinct(paths: Sequence[Path]) -> None:
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(paths):
        if resolved[index] in resolved[:index]:
            raise DatasetError(f"{path}: is given twice; give it once")
