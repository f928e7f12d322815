"""COCO detection JSON: one file has categories, images and boxes; masks and keypoints are ignored."""

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import Entry, Label, assemble, check_class_names, checked_score, checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import converted, labeled_folders, parse_json, read_bytes
from mmpnet.datasets.types import SPLITS, Dataset, Split
from mmpnet.datasets.walk import file_names
from mmpnet.system.files import is_file, is_folder

LAYOUT = "train.json and val.json with images in images/ beside them"
BESIDE_IMAGES = "_annotations.coco.json"
"""Roboflow's name for the file in each split's folder."""

_EXPECTED = "expected categories, images and annotations"
LARGEST_SIDE_PX = 2**20
"""OpenCV decodes no images with longer sides."""

_T = TypeVar("_T")


class _Category(msgspec.Struct, frozen=True):
    id: int
    name: str


class _Image(msgspec.Struct, frozen=True):
    id: int
    file_name: str
    width: int
    height: int
    group: str | None = None
    source: str | None = None


class _Annotation(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    bbox: list[float]
    iscrowd: int = 0
    area: float | None = None
    score: float = 1.0


class _CocoFile(msgspec.Struct, frozen=True):
    categories: list[Any]
    images: list[Any]
    annotations: list[Any] = msgspec.field(default_factory=list)


def evidence(path: Path) -> str | None:
    """What at this path indicates COCO: the JSON itself, or a file in a folder; None if nothing does."""
    if is_file(path):
        return path.name if path.suffix.lower() == ".json" and not path.name.startswith("via_") else None
    files = [file for split in SPLITS for file in _candidates(path, split)]
    files += [path / BESIDE_IMAGES] if is_file(path / BESIDE_IMAGES) else []
    return files[0].relative_to(path).as_posix() if files else None


def splits(path: Path) -> tuple[Split, ...]:
    """The splits of a folder; a file has no splits."""
    return () if is_file(path) else tuple(split for split in SPLITS if _candidates(path, split))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split of a folder, or the file itself.

    Raises: DatasetError as `read_coco`, or if two files match the split.
    """
    if is_file(path):
        return read_coco(path, faults)
    files = _candidates(path, split) or [path / BESIDE_IMAGES]
    if len(files) > 1:
        found = " and ".join(file.relative_to(path).as_posix() for file in files)
        raise DatasetError(f"{path}: both {found} match {split}; give the path of one file")
    return read_coco(files[0], faults)


def read_coco(path: Path, faults: Faults = STRICT) -> Dataset:
    """Read a COCO detection JSON. Its images are in images/ beside it, or directly beside it; for
    annotations/instances_NAME.json they are in NAME/ or images/NAME/ one folder up.

    Raises: DatasetError if the file, an entry or an image file is missing or malformed.
    """
    raw = read_bytes(path, expected="a COCO JSON file")
    content = _parse(raw, path)
    categories = _by_id(content.categories, _Category, f"{path}: categories", faults)
    class_names = [category.name for category in categories.values()]
    check_class_names(class_names, where=f"{path}: categories")
    images = _by_id(content.images, _Image, f"{path}: images", faults)
    labels: dict[int, list[Label]] = {image_id: [] for image_id in images}
    for where, annotation in _entries(content.annotations, _Annotation, f"{path}: annotations", faults):
        with faults:
            image = images.get(annotation.image_id)
            if image is None:
                raise DatasetError(f"{where}: image_id {annotation.image_id} is not in images; remove or correct it")
            labels[image.id].append(_label(annotation, image, categories, where))
    folder = _image_folder(path)
    entries = []
    for image in images.values():
        with faults:
            entries.append(_entry(image, labels[image.id], folder, path))
    return assemble(
        path,
        name=f"{path.resolve().parent.name}/{path.name}",
        class_names=class_names,
        entries=entries,
        sha256=hashlib.sha256(raw).hexdigest(),
        faults=faults,
    )


def _candidates(folder: Path, split: Split) -> list[Path]:
    named = [folder / f"{split}.json"]
    if is_folder(folder / "annotations"):  # COCO's own layout, such as instances_train2017.json
        names = [n for n in file_names(folder / "annotations") if re.fullmatch(rf"instances_{split}\d*\.json", n)]
        named += [folder / "annotations" / name for name in names]
    beside = labeled_folders(folder, lambda one: is_file(one / BESIDE_IMAGES)).get(split)
    named += [beside / BESIDE_IMAGES] if beside else []
    return [path for path in named if is_file(path)]


def _image_folder(path: Path) -> Path:
    """The folder with the images of a COCO JSON."""
    folders = [path.parent / "images"]
    if path.parent.name == "annotations":
        split, above = path.stem.removeprefix("instances_"), path.parent.parent
        folders += [above / split, above / "images" / split]
    return next((folder for folder in folders if is_folder(folder)), path.parent)


def _parse(raw: bytes, path: Path) -> _CocoFile:
    content = parse_json(raw, path, expected="a COCO detection file")
    return converted(content, _CocoFile, where=f"{path}: is not a COCO detection file", expected=_EXPECTED)


def _entries(raw: list[Any], kind: type[_T], where: str, faults: Faults) -> Iterator[tuple[str, _T]]:
    """Each well-formed entry with its name for messages."""
    for index, value in enumerate(raw):
        entry = None
        with faults:
            entry = converted(value, kind, where=f"{where}[{index}]", expected="correct or remove it")
        if entry is not None:
            yield f"{where}[{index}]", entry


_Numbered = TypeVar("_Numbered", _Category, _Image)


def _by_id(raw: list[Any], kind: type[_Numbered], where: str, faults: Faults) -> dict[int, _Numbered]:
    found: dict[int, _Numbered] = {}
    for name, value in _entries(raw, kind, where, faults):
        with faults:
            if value.id in found:
                raise DatasetError(f"{name}: id {value.id} occurs twice; ids must be unique")
            if isinstance(value, _Image) and not all(
                1 <= side <= LARGEST_SIDE_PX for side in (value.width, value.height)
            ):
                raise DatasetError(f"{name}: image id {value.id} states {value.width}x{value.height} px; correct it")
            found[value.id] = value
    return found


def _label(annotation: _Annotation, image: _Image, categories: dict[int, _Category], where: str) -> Label:
    if annotation.category_id not in categories:
        raise DatasetError(f"{where}: category_id {annotation.category_id} is not in categories; remove or correct it")
    where = f"{where} ({image.file_name})"
    if annotation.area is not None and not 0 <= annotation.area < math.inf:
        raise DatasetError(f"{where}: area {annotation.area} is not a positive number; correct or remove it")
    bbox = annotation.bbox
    if len(bbox) != 4:
        raise DatasetError(f"{where}: bbox has {len(bbox)} numbers, expected [x, y, width, height]")
    x, y, width, height = bbox
    xyxy = checked_xyxy(
        (x, y, x + width, y + height),
        (image.height, image.width),
        stated=bbox,
        where=f"{where}: bbox [x, y, width, height] {bbox}",
    )
    return Label(
        xyxy,
        categories[annotation.category_id].name,
        area_px2=annotation.area,
        crowd=annotation.iscrowd != 0,
        score=checked_score(annotation.score, where=where),
    )


def _entry(image: _Image, labels: list[Label], folder: Path, json_path: Path) -> Entry:
    path = folder / image.file_name
    if not is_file(path):
        raise DatasetError(f"{json_path}: image {image.file_name} (image id {image.id}) is not in {folder}")
    tags = tuple(tag for tag in (image.group, image.source) if tag)
    return Entry(path, (image.height, image.width), labels, tags, image.source or None)
