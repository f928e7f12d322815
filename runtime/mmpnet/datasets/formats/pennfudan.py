"""Penn-Fudan pedestrians (Wang et al. 2007): PNGImages/NAME.png and PedMasks/NAME_mask.png, one value per person."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import Entry, Label, assemble
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import name_of, read_bytes, relative_name, sha256_of
from mmpnet.datasets.formats._pairing import NearNames, by_key, key_of, pair, unread_note
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image, read_mask
from mmpnet.system.files import is_folder

LAYOUT = "PNGImages/NAME.png and PedMasks/NAME_mask.png"
IMAGES, MASKS, MASK_STEM = "PNGImages", "PedMasks", "_mask"
CLASS_NAME = "person"


def evidence(path: Path) -> str | None:
    """What in this folder indicates Penn-Fudan; None if nothing does."""
    return f"{MASKS}/" if is_folder(path / IMAGES) and is_folder(path / MASKS) else None


def splits(path: Path) -> tuple[Split, ...]:
    """Returns no splits, as the dataset has none."""
    del path
    return ()


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read the whole dataset. A person's box is the smallest one around its pixels; Annotation/ is not read.

    Raises: DatasetError if an image or mask is missing or unreadable, or their sizes differ.
    """
    files = files_below(path / IMAGES)
    masks: dict[str, list[Path]] = {}
    for file in filter(is_image, files_below(path / MASKS)):
        masks.setdefault(key_of(file, path / MASKS).removesuffix(MASK_STEM), []).append(file)
    images = by_key(filter(is_image, files), path / IMAGES)
    entries, contents = [], []
    for image, mask in pair(images, masks, NearNames(files, path / IMAGES), faults):
        with faults:
            entries.append(_entry(image, mask))
            contents.append((relative_name(mask, path / MASKS), read_bytes(mask, expected="a mask")))
    return assemble(
        path,
        name=name_of(path, split, whole=True),
        class_names=[CLASS_NAME],
        entries=entries,
        sha256=sha256_of(contents),
        faults=faults,
        notes=unread_note(files, path / IMAGES),
    )


def _entry(image: Path, mask_path: Path) -> Entry:
    ids = read_mask(mask_path, error=DatasetError)
    image_hw = image_size_hw(image, error=DatasetError)
    if ids.shape != image_hw:
        raise DatasetError(
            f"{mask_path}: is {ids.shape[1]}x{ids.shape[0]} px, but its image is {image_hw[1]}x{image_hw[0]} px; "
            "correct one of them"
        )
    return Entry(image, image_hw, _labels(ids))


def _labels(ids: NDArray[np.int64]) -> list[Label]:
    """One person per value above 0, in increasing order; ids (H, W)."""
    labels = []
    for value in np.unique(ids[ids > 0]):
        rows, cols = np.nonzero(ids == value)
        box = (float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1))
        labels.append(Label(box, CLASS_NAME))
    return labels
