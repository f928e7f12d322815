"""Recognize the format of a `--data` argument and call its reader."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats import coco, cvat, gt_data, pennfudan, via, voc, yolo
from mmpnet.datasets.formats._folders import SPLIT_FOLDERS
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import file_names
from mmpnet.system.files import is_file, is_folder

_SHOWN_NAMES = 6


@dataclass(frozen=True, slots=True)
class Format:
    """How to recognize one format (`evidence`: what was found at a path), list its splits and read it."""

    name: str
    layout: str
    evidence: Callable[[Path], str | None]
    splits: Callable[[Path], tuple[Split, ...]]
    read: Callable[[Path, Split, Faults], Dataset]


FORMATS = (
    Format("COCO JSON", coco.LAYOUT, coco.evidence, coco.splits, coco.read),
    Format("YOLO", yolo.LAYOUT, yolo.evidence, yolo.splits, yolo.read),
    Format("Pascal VOC", voc.LAYOUT, voc.evidence, voc.splits, voc.read),
    Format("CVAT", cvat.LAYOUT, cvat.evidence, cvat.splits, cvat.read),
    Format("gt_data", gt_data.LAYOUT, gt_data.evidence, gt_data.splits, gt_data.read),
    Format("VIA", via.LAYOUT, via.evidence, via.splits, via.read),
    Format("Penn-Fudan", pennfudan.LAYOUT, pennfudan.evidence, pennfudan.splits, pennfudan.read),
)


def recognize(path: Path) -> Format:
    """The format of a file or folder.

    Raises: DatasetError if the path does not exist, or not exactly one format fits.
    """
    if not is_file(path) and not is_folder(path):
        raise DatasetError(f"{path}: no such file or folder; labeled images are {_layouts()}")
    found = [(one, evidence) for one in FORMATS if (evidence := one.evidence(path)) is not None]
    if len(found) > 1:
        both = " and ".join(f"{one.name} ({evidence})" for one, evidence in found)
        raise DatasetError(f"{path}: looks like {both}; give the path of one file, or move one of them away")
    if not found:
        raise DatasetError(f"{path}: {_contents(path)}; labeled images are {_layouts()}")
    return found[0][0]


def open_dataset(path: Path, split: Split, faults: Faults = STRICT, *, undivided: bool = False) -> Dataset:
    """Read a split of a folder, or a file as a whole. A folder without splits is `train`, or the split that its name
    states; undivided: it counts as any split.

    Raises: DatasetError if the format or the split is missing, or an entry is bad; MissingExtraError.
    """
    kind = recognize(path)
    available = kind.splits(path)
    if is_file(path) and not available:
        return kind.read(path, split, faults)
    if available and split not in available:
        raise DatasetError(f"{path}: has no split {split}; this {kind.name} data has {', '.join(available)}")
    is_named_so = split == "train" or path.resolve().name in SPLIT_FOLDERS[split]
    if not available and not is_named_so and not undivided:
        raise DatasetError(
            f"{path}: has no split {split}; this {kind.name} data has no splits, so all of it is train; "
            f"use that split, divide the folder, or give a folder or file for {split}"
        )
    return kind.read(path, split, faults)


def has_split(path: Path, split: Split) -> bool:
    """Whether the dataset defines the split. For files it is False; for folders without splits, True only for `train`.

    Raises: DatasetError if the format is not recognized; MissingExtraError.
    """
    available = recognize(path).splits(path)
    return split in available or (not available and split == "train")


def _layouts() -> str:
    return "; ".join(f"{one.name}: {one.layout}" for one in FORMATS)


def _contents(path: Path) -> str:
    if is_file(path):
        return "has no known format"
    names = file_names(path)
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
    return f"contains {shown}, which is no known dataset format" if names else "is empty"
