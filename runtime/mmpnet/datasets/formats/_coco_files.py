"""Where COCO JSON files are in a folder: tools place them in many ways."""

import re
from pathlib import Path

from mmpnet.datasets.formats._folders import labeled_folders
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.datasets.walk import file_names
from mmpnet.system.files import is_file, is_folder

BESIDE_IMAGES = "_annotations.coco.json"
"""Roboflow's name for the file in each split's folder."""
WHOLE = (
    BESIDE_IMAGES,
    "annotations/instances_default.json",
    "labels.json",
    "result.json",
    "instances_default.json",
)
"""Files without splits, as Roboflow, CVAT, FiftyOne and Label Studio name them."""
_KINDS = ("instances_", "person_keypoints_", "")
"""Beginnings of the names in COCO's own layout; the first kind that is there is read."""


def files_of_split(folder: Path, split: Split) -> list[Path]:
    """The JSON files of a folder that match a split."""
    named = [folder / f"{split}.json"]
    if is_folder(folder / "annotations"):
        names = file_names(folder / "annotations")
        of_kinds = ([n for n in names if re.fullmatch(rf"{kind}{split}\d*\.json", n)] for kind in _KINDS)
        named += [folder / "annotations" / name for name in next(filter(None, of_kinds), [])]
    beside = labeled_folders(folder, lambda one: is_file(one / BESIDE_IMAGES)).get(split)
    named += [beside / BESIDE_IMAGES] if beside else []
    return [path for path in named if is_file(path)]


def whole_file(folder: Path) -> Path | None:
    """The JSON file of a folder without splits, or None."""
    if any(files_of_split(folder, split) for split in SPLITS):
        return None
    return next((folder / name for name in WHOLE if is_file(folder / name)), None)
