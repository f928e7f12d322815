"""The files that describe a YOLO dataset: Ultralytics' data.yaml, Darknet's obj.data, or a classes.txt alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.datasets.checked_labels import check_class_names
from mmpnet.datasets.formats._folders import GT_DATA_SUFFIX, existing, numbered_lines, read_bytes
from mmpnet.datasets.splits import Split
from mmpnet.datasets.walk import file_names
from mmpnet.system.files import is_file, is_folder

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
DARKNET, CLASSES = "obj.data", "classes.txt"
_DARKNET_FOLDER = "data/"
"""Darknet runs in the folder above, which it expects to have this name."""


@dataclass(frozen=True, slots=True)
class Description:
    """Class names, and the folders and lists of images that a file states for each split, relative to `root`.

    Without names, the images show background alone.
    """

    path: Path
    root: Path
    names: list[str]
    stated: dict[Split, list[str]]
    divided: bool = True


class _DataYaml(msgspec.Struct, frozen=True):
    names: list[str] | dict[int, str]
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None
    nc: int | None = None
    kpt_shape: Any = None


def describing_file(path: Path) -> Path | None:
    """The file that describes the dataset at this path, or None if there is none."""
    if is_file(path):
        is_yaml = path.suffix.lower() in (".yaml", ".yml")
        return path if is_yaml or path.name == DARKNET else None
    named = [path / name for name in (*YAML_NAMES, DARKNET) if is_file(path / name)]
    if named or not is_folder(path):
        return named[0] if named else None
    # labelImg and Label Studio write the names of classes only.
    beside = next((one for one in (path / CLASSES, path / "labels" / CLASSES) if is_file(one)), None)
    return beside if beside is not None and _has_rows(beside.parent, path) else None


def read_description(path: Path) -> Description:
    """Read the file that `describing_file` found.

    Raises: DatasetError if it is malformed, MissingExtraError without pyyaml.
    """
    if path.name == DARKNET:
        return _darknet(path)
    return _classes_alone(path) if path.name == CLASSES else _ultralytics(path)


def require_order_of_tool(description: Description, label_folders: Iterable[Path]) -> None:
    """Raises: DatasetError if a classes.txt, which labelImg and Label Studio write, numbers the same names differently:
    the rows follow one of the two."""
    for folder in sorted({description.root, description.root / "labels", *label_folders}):
        path = folder / CLASSES
        if path == description.path or not is_file(path):
            continue
        names = _names_in(path)
        if names != description.names and sorted(names) == sorted(description.names):
            raise DatasetError(
                f"{description.path}: numbers its classes {', '.join(description.names)}, but {path} numbers them "
                f"{', '.join(names)}; correct the one that the rows do not follow, or remove it"
            )


def _has_rows(folder: Path, root: Path) -> bool:
    return any(
        name.endswith(".txt") and name != CLASSES and not name.endswith(GT_DATA_SUFFIX)
        for one in {folder, root / "labels"}
        if is_folder(one)
        for name in file_names(one)
    )


def _ultralytics(path: Path) -> Description:
    content = _read_yaml(path)
    root = path.parent / content.path.replace("\\", "/") if content.path else path.parent
    if not is_folder(root):
        raise DatasetError(f"{path}: path is {content.path}, but {root} is not a folder; correct or remove the line")
    stated: dict[Split, list[str]] = {
        "train": _listed(content.train),
        "val": _listed(content.val),
        "test": _listed(content.test),
    }
    return Description(path, root, _class_names(content, path), stated)


def _listed(stated: str | list[str] | None) -> list[str]:
    return [stated] if isinstance(stated, str) else stated or []


def _read_yaml(path: Path) -> _DataYaml:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError(f"{path}: YOLO data needs pyyaml: pip install 'mmpnet[eval]'") from error
    raw = read_bytes(path, expected="YOLO's data.yaml")
    try:
        return msgspec.convert(yaml.safe_load(raw), _DataYaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # msgspec's error is a ValueError
        fault = " ".join(str(error).split())
        raise DatasetError(f"{path}: is not YOLO's data.yaml: {fault}; expected names, train and val") from error


def _class_names(content: _DataYaml, path: Path) -> list[str]:
    names = content.names
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DatasetError(f"{path}: names are numbered {sorted(names)}; expected 0 to {len(names) - 1}")
        names = [names[index] for index in range(len(names))]
    if content.nc is not None and content.nc != len(names):
        raise DatasetError(f"{path}: nc is {content.nc}, but there are {len(names)} names; correct one of them")
    if content.kpt_shape is not None:
        raise DatasetError(f"{path}: kpt_shape states that rows hold keypoints; expected boxes or polygons")
    check_class_names(names, where=f"{path}: names")
    return names


def _darknet(path: Path) -> Description:
    lines = numbered_lines(read_bytes(path, expected="Darknet's obj.data"), path)
    values = {key.strip(): value.strip() for key, equals, value in (line.partition("=") for _, line in lines) if equals}
    names_path = existing(path.parent, values.get("names", ""), without=_DARKNET_FOLDER)
    if names_path is None or not is_file(names_path):
        raise DatasetError(f"{path}: its names are in {values.get('names', 'no file')}, which does not exist; add it")
    stated: dict[Split, list[str]] = {
        "train": _listed(values.get("train")),
        "val": _listed(values.get("valid")),
        "test": _listed(values.get("test")),
    }
    return Description(path, path.parent, _names_in(names_path), stated)


def _classes_alone(path: Path) -> Description:
    root = path.parent.parent if path.parent.name == "labels" else path.parent
    stated: dict[Split, list[str]] = {"train": ["images" if is_folder(root / "images") else "."]}
    return Description(path, root, _names_in(path), stated, divided=False)


def _names_in(path: Path) -> list[str]:
    names = [line for _, line in numbered_lines(read_bytes(path, expected="one name of a class per line"), path)]
    check_class_names(names, where=f"{path}: names")
    return names
