"""List, pair and hash files, for formats that keep labels in many files."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.types import SPLITS, Split
from mmpnet.system.files import is_folder, require_regular

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}


def file_names(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones.

    Raises: DatasetError if it cannot be listed.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed ({error.strerror}); expected a folder") from error


def read_bytes(path: Path, *, expected: str) -> bytes:
    """A file's bytes.

    Raises: DatasetError if it cannot be read.
    """
    try:
        require_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error


def parse_json(raw: bytes, path: Path, *, expected: str) -> Any:
    """The content of a JSON file. NaN and infinity are accepted, so that a bad box is reported with its entry.

    Raises: DatasetError if it is not JSON, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: is not JSON ({error}); expected {expected}") from error


def numbered_lines(raw: bytes, path: Path) -> list[tuple[int, str]]:
    """The non-blank lines of a text file, each with its number from 1.

    Raises: DatasetError if it is not text.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error}); expected lines of numbers or names") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def labeled_folders(folder: Path, has_labels: Callable[[Path], bool]) -> dict[Split, Path]:
    """The split folders train/, val/ (or valid/) and test/ that have labels; empty if no split folder has labels.

    Raises: DatasetError if both val/ and valid/ have labels, or the folder itself has labels too.
    """
    found: dict[Split, Path] = {}
    for split in SPLITS:
        named = [folder / name for name in SPLIT_FOLDERS[split]]
        labeled = [one for one in named if is_folder(one) and has_labels(one)]
        if len(labeled) > 1:
            raise DatasetError(f"{folder}: both {labeled[0].name}/ and {labeled[1].name}/ have labels; keep one")
        if labeled:
            found[split] = labeled[0]
    return found


def pair(
    images: Iterable[Path], labels: dict[str, Path], *, stem: Callable[[Path], str], faults: Faults
) -> list[tuple[Path, Path]]:
    """Pair each image with its label file: `labels` has the files by stem, `stem` gives the stem of an image.

    Raises: DatasetError naming an image without label file, a label file without image, or two images with one.
    """
    paired: dict[str, Path] = {}
    for image in images:
        key = stem(image)
        with faults:
            if key not in labels:
                raise DatasetError(f"{image}: has no label file; add one (an empty one if the image has no objects)")
            if key in paired:
                raise DatasetError(f"{image}: shares its label file with {paired[key].name}; rename one of them")
            paired[key] = image
    for key in sorted(labels.keys() - paired.keys()):
        with faults:
            raise DatasetError(f"{labels[key]}: has no image with its name; add the image, or remove the file")
    return [(image, labels[key]) for key, image in paired.items()]


def name_of(folder: Path, split: Split, *, whole: bool) -> str:
    """Name of a folder's split in reports: FOLDER/SPLIT, or FOLDER if it has no splits."""
    name = folder.resolve().name
    return name if whole else f"{name}/{split}"


def sha256_of(contents: Iterable[tuple[str, bytes]]) -> str:
    """One hash over files, sorted by name. It covers the lengths of names and contents, so that moving bytes from one
    to the next changes the hash."""
    digest = hashlib.sha256()
    for name, content in sorted(contents):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def relative_name(path: Path, root: Path) -> str:
    """A file's path relative to a folder, with forward slashes; its full path if it is elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
