"""The exercise's format: NAME.gt_data.txt beside NAME.jpg, one person per line as `x1 y1 x2 y2` in pixels."""

from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import Entry, Label, assemble, checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import (
    GT_DATA_SUFFIX,
    labeled_folders,
    name_of,
    numbered_lines,
    read_bytes,
    relative_name,
    sha256_of,
)
from mmpnet.datasets.formats._pairing import NearNames, by_key, key_of, pair, unread_note
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import file_names, files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import is_folder

LAYOUT = "NAME.gt_data.txt beside NAME.jpg"
SUFFIX = GT_DATA_SUFFIX
CLASS_NAME = "person"


def evidence(path: Path) -> str | None:
    """What in this folder indicates the exercise's format; None if nothing does."""
    if not is_folder(path):
        return None
    if _has_labels(path):
        return f"*{SUFFIX}"
    folders = labeled_folders(path, _has_labels)
    return f"{next(iter(folders.values())).name}/*{SUFFIX}" if folders else None


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that have a folder."""
    return tuple(labeled_folders(path, _has_labels))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split's folder, or the folder itself, and the folders below it. Corners are half-open; an image without
    people has an empty file.

    Raises: DatasetError if a file or a line is missing or malformed.
    """
    folders = labeled_folders(path, _has_labels)
    folder = folders.get(split, path)
    files = files_below(folder)
    labels: dict[str, list[Path]] = {}
    for file in files:
        if file.name.endswith(SUFFIX):
            labels.setdefault(key_of(file.with_name(file.name.removesuffix(SUFFIX) + ".txt"), folder), []).append(file)
    images = by_key(filter(is_image, files), folder)
    entries, contents = [], []
    for image, label_path in pair(images, labels, NearNames(files, folder), faults):
        with faults:
            raw = read_bytes(label_path, expected="lines of x1 y1 x2 y2")
            contents.append((relative_name(label_path, folder), raw))
            entries.append(_entry(image, label_path, raw, faults))
    return assemble(
        path,
        name=name_of(path, split, whole=not folders),
        class_names=[CLASS_NAME],
        entries=entries,
        sha256=sha256_of(contents),
        faults=faults,
        notes=unread_note(files, folder),
    )


def _has_labels(folder: Path) -> bool:
    return any(name.endswith(SUFFIX) for name in file_names(folder))


def _entry(image: Path, label_path: Path, raw: bytes, faults: Faults) -> Entry:
    image_hw = image_size_hw(image, error=DatasetError)
    labels = []
    for number, line in numbered_lines(raw, label_path):
        with faults:
            labels.append(_label(line, image_hw, f"{label_path}:{number}"))
    return Entry(image, image_hw, labels)


def _label(line: str, image_hw: tuple[int, int], where: str) -> Label:
    try:
        x1, y1, x2, y2 = (float(word) for word in line.split())
    except ValueError:
        raise DatasetError(f"{where}: {line[:80]!r}; expected four numbers, x1 y1 x2 y2") from None
    box = checked_xyxy((x1, y1, x2, y2), image_hw, stated=(x1, y1, x2, y2), where=f"{where}: box {line[:80]}")
    return Label(box, CLASS_NAME)
