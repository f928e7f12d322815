"""COCO detection JSON: one file has categories, images and boxes; masks and keypoints are ignored."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import Entry, Label, assemble, check_class_names, checked_score, checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._coco_files import files_of_split, whole_file
from mmpnet.datasets.formats._folders import converted, parse_json, read_bytes
from mmpnet.datasets.formats._image_folder import ImageFolder, image_folder, unnamed_note
from mmpnet.datasets.formats._packed import shard_part
from mmpnet.datasets.formats._rotation import around_rotated, rotation_note
from mmpnet.datasets.formats._via_or_coco import is_via
from mmpnet.datasets.shards import ShardPart
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.datasets.types import Dataset
from mmpnet.media.image_size import image_size_hw
from mmpnet.system.files import is_file

LAYOUT = "train.json and val.json with images in images/ beside them"

_EXPECTED = "expected categories, images and annotations"
LARGEST_SIDE_PX = 2**20
"""OpenCV decodes no images with longer sides."""

_LONGEST_NUMBER = 20
"""Digits of an id in a text; a longer one stays a text."""

_T = TypeVar("_T")
_Number: TypeAlias = int | float
_Key: TypeAlias = int | float | str
"""An id as tools write it: pandas makes floats of whole numbers, and some databases have texts."""


class _Category(msgspec.Struct, frozen=True):
    id: _Key
    name: str
    supercategory: Any = None


class _Image(msgspec.Struct, frozen=True):
    id: _Key
    file_name: str
    width: _Number | None = None
    height: _Number | None = None
    group: Any = None
    source: Any = None
    tags: Any = None
    shard: Any = None

    @property
    def is_packed(self) -> bool:
        """Whether the image is in a shard; a tool may have a key of this name with other content."""
        return isinstance(self.shard, dict)


class _Annotation(msgspec.Struct, frozen=True):
    image_id: _Key
    category_id: _Key
    bbox: list[float]
    iscrowd: bool | int | float | None = None
    area: float | None = None
    score: float | None = None
    attributes: Any = None

    @property
    def rotation_degrees(self) -> float:
        """The rotation that CVAT writes beside a box; 0 without one."""
        value = self.attributes.get("rotation") if isinstance(self.attributes, dict) else None
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


class _CocoFile(msgspec.Struct, frozen=True):
    categories: list[Any]
    images: list[Any]
    annotations: list[Any] = msgspec.field(default_factory=list)
    shards: Any = None


def evidence(path: Path) -> str | None:
    """What at this path indicates COCO: the JSON itself, or a file in a folder; None if nothing does."""
    if is_file(path):
        return path.name if path.suffix.lower() == ".json" and not is_via(path) else None
    files = [file for split in SPLITS for file in files_of_split(path, split)]
    whole = whole_file(path)
    files += [] if whole is None or is_via(whole) else [whole]
    return files[0].relative_to(path).as_posix() if files else None


def splits(path: Path) -> tuple[Split, ...]:
    """The splits of a folder; a file has no splits."""
    return () if is_file(path) else tuple(split for split in SPLITS if files_of_split(path, split))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split of a folder, or the file itself.

    Raises: DatasetError as `read_coco`, or if two files match the split.
    """
    if is_file(path):
        return read_coco(path, faults)
    whole = whole_file(path)
    files = files_of_split(path, split) if whole is None else [whole]
    if len(files) > 1:
        found = " and ".join(file.relative_to(path).as_posix() for file in files)
        raise DatasetError(f"{path}: both {found} match {split}; give the path of one file")
    return read_coco(files[0], faults)


def read_coco(path: Path, faults: Faults = STRICT) -> Dataset:
    """Read a COCO detection JSON. Its images are where most of the first ones are found: in images/ or data/ beside it,
    directly beside it, or in a folder above that has the name of the split or the name images/.

    A category without boxes that is only the parent of others is left out, and categories of one name are one class.
    A box with a rotation becomes the smallest upright box around the rotated one.

    Raises: DatasetError if the file, an entry or an image file is missing or malformed.
    """
    raw = read_bytes(path, expected="a COCO JSON file")
    content = _parse(raw, path)
    categories = _categories(content, path, faults)
    check_class_names(categories.class_names, where=f"{path}: categories")
    images = _by_id(content.images, _Image, f"{path}: images", faults)
    folder = image_folder(path, [image.file_name for image in images.values() if not image.is_packed])
    sizes = _sizes(images, folder, path, faults)
    labels: dict[_Key, list[Label]] = {key: [] for key in images}
    n_rotated = 0
    areas = _Areas()
    for where, annotation in _entries(content.annotations, _Annotation, f"{path}: annotations", faults):
        areas.add(annotation)
        with faults:
            key = _id(annotation.image_id)
            if key not in images:
                raise DatasetError(f"{where}: image_id {annotation.image_id} is not in images; remove or correct it")
            if key in sizes:
                named = f"{where} ({images[key].file_name})"
                labels[key].append(_label(annotation, sizes[key], categories.name_of(annotation, where), named))
                n_rotated += annotation.rotation_degrees != 0
    with faults:
        areas.require_sides(path)
    entries = []
    exported: list[Path] = []
    owners: dict[Path, _Key] = {}
    for key in sizes:
        with faults:
            image = images[key]
            place, shard = _place(image, folder, content.shards, path)
            _require_new(place, image, owners, path)
            if shard is None and not Path(image.file_name).is_absolute():  # else a choice of images of another place
                exported.append(place)
            entries.append(Entry(place, sizes[key], labels[key], _tags(image), _source(image), shard))
    return assemble(
        path,
        name=f"{path.resolve().parent.name}/{path.name}",
        class_names=categories.class_names,
        entries=entries,
        sha256=hashlib.sha256(raw).hexdigest(),
        faults=faults,
        notes=[
            *categories.notes,
            *rotation_note(path, n_rotated),
            *unnamed_note(path, exported),
        ],
    )


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


def _by_id(raw: list[Any], kind: type[_Numbered], where: str, faults: Faults) -> dict[_Key, _Numbered]:
    found: dict[_Key, _Numbered] = {}
    for name, value in _entries(raw, kind, where, faults):
        with faults:
            key = _id(value.id)
            if key in found:
                raise DatasetError(f"{name}: id {value.id} occurs twice; ids must be unique")
            if isinstance(value, _Image):
                _check_stated_size(value, name)
            found[key] = value
    return found


def _id(value: _Key) -> _Key:
    """An id in one form: 7.0 and "7" are 7."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < _LONGEST_NUMBER else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_stated_size(image: _Image, where: str) -> None:
    sides = [side for side in (image.width, image.height) if side is not None]
    if not all(1 <= side <= LARGEST_SIDE_PX and side == int(side) for side in sides):
        raise DatasetError(f"{where}: image id {image.id} states {image.width}x{image.height} px; correct it")


@dataclass(frozen=True, slots=True)
class _Categories:
    """The names of the classes in order, the name of each id, and notes about what was left out or joined."""

    class_names: list[str]
    names: dict[_Key, str]
    notes: list[str]

    def name_of(self, annotation: _Annotation, where: str) -> str:
        name = self.names.get(_id(annotation.category_id))
        if name is None:
            raise DatasetError(
                f"{where}: category_id {annotation.category_id} is not in categories; remove or correct it"
            )
        return name


def _categories(content: _CocoFile, path: Path, faults: Faults) -> _Categories:
    found = _by_id(content.categories, _Category, f"{path}: categories", faults)
    used = {
        _id(one["category_id"])
        for one in content.annotations
        if isinstance(one, dict) and isinstance(one.get("category_id"), int | float | str)
    }
    parents = {key for key, one in found.items() if key not in used and _is_parent(key, one, found)}
    notes = [
        f"{path}: category {found[key].name!r} has no boxes and is the parent of others; it is left out"
        for key in parents
    ]
    kept = {key: one.name for key, one in found.items() if key not in parents}
    names = list(dict.fromkeys(kept.values()))
    notes += [
        f"{path}: {count} categories are called {name!r}; they are one class"
        for name, count in Counter(kept.values()).items()
        if count > 1
    ]
    return _Categories(names, {key: one.name for key, one in found.items()}, notes)


def _is_parent(key: _Key, category: _Category, categories: Mapping[_Key, _Category]) -> bool:
    """Whether another category names this one as its supercategory, as Roboflow's export has it."""
    return any(other.supercategory == category.name for at, other in categories.items() if at != key)


def _sizes(
    images: Mapping[_Key, _Image], folder: ImageFolder, path: Path, faults: Faults
) -> dict[_Key, tuple[int, int]]:
    """The (height, width) of each image: as stated, or read from its file."""
    sizes = {}
    for key, image in images.items():
        where = _where(path, image)
        with faults:
            if image.width is not None and image.height is not None:
                sizes[key] = int(image.height), int(image.width)
            elif image.is_packed:
                raise DatasetError(f"{where}: has no width and height, which an image in a shard needs; pack it again")
            else:
                sizes[key] = image_size_hw(folder.find(image.file_name, where=where), error=DatasetError)
    return sizes


@dataclass
class _Areas:
    """Compares the areas that annotations state with the two readings of their boxes."""

    n_corners: int = 0
    n_others: int = 0

    def add(self, annotation: _Annotation) -> None:
        """Take an annotation; one without an area or with fewer numbers says nothing."""
        if annotation.area is None or len(annotation.bbox) != 4:
            return
        x, y, third, fourth = annotation.bbox
        is_corners = math.isclose(annotation.area, (third - x) * (fourth - y), rel_tol=1e-3)
        self.n_corners += is_corners and not math.isclose(annotation.area, third * fourth, rel_tol=1e-2)
        self.n_others += not is_corners

    def require_sides(self, path: Path) -> None:
        """Raises: DatasetError if the areas are those of boxes that are stated by two corners."""
        if self.n_corners and not self.n_others:
            raise DatasetError(
                f"{path}: the areas are those of boxes [x1, y1, x2, y2], but COCO states [x, y, width, height]; "
                "convert each bbox"
            )


def _label(annotation: _Annotation, image_hw: tuple[int, int], class_name: str, where: str) -> Label:
    if annotation.area is not None and not 0 <= annotation.area < math.inf:
        raise DatasetError(f"{where}: area {annotation.area} is not a positive number; correct or remove it")
    bbox = annotation.bbox
    if len(bbox) != 4:
        raise DatasetError(f"{where}: bbox has {len(bbox)} numbers, expected [x, y, width, height]")
    x, y, width, height = bbox
    xyxy = around_rotated((x, y, x + width, y + height), annotation.rotation_degrees, image_hw)
    score = 1.0 if annotation.score is None else annotation.score
    return Label(
        checked_xyxy(xyxy, image_hw, stated=bbox, where=f"{where}: bbox [x, y, width, height] {bbox}"),
        class_name,
        area_px2=annotation.area,
        crowd=bool(annotation.iscrowd),
        score=checked_score(score, where=where),
    )


def _where(path: Path, image: _Image) -> str:
    return f"{path}: image {image.file_name} (image id {image.id})"


def _require_new(place: Path, image: _Image, owners: dict[Path, _Key], path: Path) -> None:
    """Note who names an image. Raises: DatasetError if another entry does, whose boxes would be missed in this one."""
    if place in owners:
        ids = f"id {owners[place]} and id {image.id}"
        raise DatasetError(f"{path}: images: {image.file_name} is that of {ids}; join the two entries and their boxes")
    owners[place] = image.id


def _place(image: _Image, folder: ImageFolder, shards: Any, json_path: Path) -> tuple[Path, ShardPart | None]:
    """The path of an image, or a name for people and its place in a shard. Raises: DatasetError if it has none."""
    where = _where(json_path, image)
    if not image.is_packed:
        return folder.find(image.file_name, where=where), None
    part = shard_part(image.shard, shards, json_path=json_path, where=where)
    return json_path.parent / Path(part.shard).name / image.file_name, part


def _tags(image: _Image) -> tuple[str, ...]:
    """Those of packed images are stated; others have their group and source."""
    if image.is_packed and isinstance(image.tags, list):
        return tuple(tag for tag in image.tags if isinstance(tag, str))
    group = image.group if isinstance(image.group, str) else None
    return tuple(tag for tag in (group, _source(image)) if tag)


def _source(image: _Image) -> str | None:
    """Its origin, if it states one; other tools have a key of this name with other content."""
    return image.source if isinstance(image.source, str) and image.source else None
