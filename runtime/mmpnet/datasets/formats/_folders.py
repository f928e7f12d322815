"""Find the folders of splits, and read and hash files, for all formats."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import as_bytes
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.system.files import is_folder, require_regular

_T = TypeVar("_T")

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}

GT_DATA_SUFFIX = ".gt_data.txt"
"""End of the names of the exercise's label files, which are no YOLO rows although they end in .txt too."""


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


def converted(value: Any, kind: type[_T], *, where: str, expected: str) -> _T:
    """A value of a JSON file as a struct.

    Raises: DatasetError, beginning with `where`, if it is not of this kind, or a text in its place is no UTF-8.
    """
    try:
        return msgspec.convert(value, kind)
    except ValueError as error:  # msgspec's error, and UnicodeEncodeError
        raise DatasetError(f"{where}: {error}; {expected}") from error


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
    """The split folders train/, val/ (or valid/) and test/ that have labels; empty if only the folder itself has some.

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
    if found and has_labels(folder):
        names = " and ".join(f"{one.name}/" for one in found.values())
        raise DatasetError(f"{folder}: has labels itself, and so has {names}; move them into folders of one kind")
    return found


def existing(folder: Path, stated: str, *, without: str = "") -> Path | None:
    """The file or folder that a label file names relative to a folder, or None if it does not exist.

    A path of Windows, with backslashes, is taken too. without: a first folder that some tools state and do not write.
    """
    plain = stated.replace("\\", "/")
    names = [stated, plain, *([plain.removeprefix(without)] if without and plain.startswith(without) else [])]
    return next((folder / name for name in names if name and os.path.exists(folder / name)), None)  # noqa: PTH110


def name_of(folder: Path, split: Split, *, whole: bool) -> str:
    """Name of a folder's split in reports: FOLDER/SPLIT, or FOLDER if it has no splits."""
    name = folder.resolve().name
    return name if whole else f"{name}/{split}"


def sha256_of(contents: Iterable[tuple[str, bytes]]) -> str:
    """One hash over files, sorted by name. It covers the lengths of names and contents, so that moving bytes from one
    to the next changes the hash."""
    digest = hashlib.sha256()
    for name, content in sorted(contents):
        for part in (as_bytes(name), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def relative_name(path: Path, root: Path) -> str:
    """A file's path relative to a folder, with forward slashes; its full path if it is elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
