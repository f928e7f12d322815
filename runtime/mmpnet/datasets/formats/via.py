"""VGG Image Annotator 1, 2 and 3, as in the Matterport balloon dataset: via_region_data.json beside images."""

import math
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import XYXY, Entry, Label, assemble, check_class_names, checked_xyxy, class_names_of
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import converted, labeled_folders, name_of, parse_json, read_bytes, sha256_of
from mmpnet.datasets.formats._image_folder import ImageFolder, image_folder, unnamed_note
from mmpnet.datasets.formats._via3 import as_version_2, is_version_3
from mmpnet.datasets.formats._via_or_coco import is_via
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import file_names
from mmpnet.media.image_size import image_size_hw
from mmpnet.system.files import is_file

LAYOUT = "via_region_data.json (or another via_*.json) beside the images"
CLASS_NAME = "object"
"""The class of all regions if no region in the file has an attribute."""
CLASS_ATTRIBUTES = ("class", "label", "name", "category")
"""If a region has several attributes, its class is the attribute with one of these names."""
_PROJECT_ENTRIES = "_via_img_metadata"


class _Shape(msgspec.Struct, frozen=True):
    name: str
    all_points_x: list[float] = msgspec.field(default_factory=list)
    all_points_y: list[float] = msgspec.field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    r: float = 0.0
    rx: float = 0.0
    ry: float = 0.0
    theta: float = 0.0


class _Region(msgspec.Struct, frozen=True):
    shape_attributes: _Shape
    region_attributes: dict[str, Any] = msgspec.field(default_factory=dict)


class _File(msgspec.Struct, frozen=True):
    filename: str
    regions: list[Any] | dict[str, Any]

    def numbered(self) -> list[tuple[str, Any]]:
        """The numbered regions: version 1 stores them in an object with numeric keys, version 2 in a list."""
        if isinstance(self.regions, dict):
            return list(self.regions.items())
        return [(str(index), region) for index, region in enumerate(self.regions)]


def evidence(path: Path) -> str | None:
    """What at this path indicates VIA: the JSON itself, or a file in a folder; None if nothing does."""
    if is_file(path):
        return path.name if is_via(path) else None
    if _has_labels(path):
        return _json_path(path).name
    folders = labeled_folders(path, _has_labels)
    return next((_json_path(one).relative_to(path).as_posix() for one in folders.values()), None)


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that have a folder; a file has no splits."""
    return () if is_file(path) or _has_labels(path) else tuple(labeled_folders(path, _has_labels))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split's folder, or the file. The box is the smallest one around a polygon, polyline, rectangle, circle or
    ellipse; corners are points, not pixels. The class is the region's only attribute, or the one with a name in
    CLASS_ATTRIBUTES; it is `object` if no region of the file has attributes.

    Raises: DatasetError if the file, an entry or an image is missing or malformed.
    """
    whole = is_file(path) or _has_labels(path)
    json_path = path if is_file(path) else _json_path(path if whole else labeled_folders(path, _has_labels)[split])
    raw = read_bytes(json_path, expected="VIA's JSON")
    files = _parse(raw, json_path)
    has_classes = any(_attributes(file) for file in files.values())
    names = [file.get("filename") for file in files.values() if isinstance(file, dict)]
    folder = image_folder(json_path, [name for name in names if isinstance(name, str)])
    entries = []
    for key, file in files.items():
        with faults:
            entries.append(_entry(file, f"{json_path}: {key}", folder, has_classes, faults))
    class_names = class_names_of(entries)
    check_class_names(class_names, where=f"{json_path}: classes")
    return assemble(
        path,
        name=name_of(path, split, whole=whole),
        class_names=class_names,
        entries=entries,
        sha256=sha256_of([(json_path.name, raw)]),
        faults=faults,
        may_lack_classes=True,
        notes=unnamed_note(json_path, [entry.path for entry in entries]),
    )


def _names(folder: Path) -> list[str]:
    """The files of VIA in a folder: of a name that begins as VIA's, and without COCO in it."""
    return [name for name in file_names(folder) if name.startswith("via_") and is_via(folder / name)]


def _has_labels(folder: Path) -> bool:
    return bool(_names(folder))


def _json_path(folder: Path) -> Path:
    names = _names(folder)
    if len(names) > 1:
        raise DatasetError(f"{folder}: has both {names[0]} and {names[1]}; give the path of one file")
    return folder / names[0]


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    content = parse_json(raw, path, expected="regions of VGG Image Annotator")
    if is_version_3(content):
        content = as_version_2(content)
    if isinstance(content, dict) and _PROJECT_ENTRIES in content:
        content = content[_PROJECT_ENTRIES]
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: is not a JSON object with images; expected VGG Image Annotator's regions by image")
    return content


def _attributes(file: Any) -> bool:
    """Whether any region of an image, as parsed from the JSON, has an attribute."""
    regions = file.get("regions") if isinstance(file, dict) else None
    values = regions.values() if isinstance(regions, dict) else regions if isinstance(regions, list) else ()
    return any(isinstance(region, dict) and region.get("region_attributes") for region in values)


def _entry(raw: Any, where: str, folder: ImageFolder, has_classes: bool, faults: Faults) -> Entry:
    file = converted(raw, _File, where=where, expected="expected filename and regions")
    image = folder.find(file.filename, where=f"{where}: image {file.filename}")
    image_hw = image_size_hw(image, error=DatasetError)
    labels = []
    for index, region in file.numbered():
        with faults:
            labels.append(_label(region, image_hw, f"{where}: regions[{index}]", has_classes))
    return Entry(image, image_hw, labels)


def _label(raw: Any, image_hw: tuple[int, int], where: str, has_classes: bool) -> Label:
    region = converted(raw, _Region, where=where, expected="correct or remove it")
    name = _class_name(region.region_attributes, where) if has_classes else CLASS_NAME
    return Label(_box(region.shape_attributes, image_hw, where), name)


def _class_name(attributes: dict[str, Any], where: str) -> str:
    named = [key for key in attributes if len(attributes) == 1 or key.lower() in CLASS_ATTRIBUTES]
    value = attributes[named[0]] if len(named) == 1 else None
    if isinstance(value, dict):  # a checkbox: each option with whether it is ticked
        ticked = [option for option, is_ticked in value.items() if is_ticked]
        value = ticked[0] if len(ticked) == 1 else None
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(
            f"{where}: has the attributes {attributes}; expected its class as text, in its only attribute or in one "
            f"named {', '.join(CLASS_ATTRIBUTES)}, because other regions of the file have attributes"
        )
    return value.strip()


def _half_sides(rx: float, ry: float, theta: float) -> tuple[float, float]:
    """Half the sides of the upright box around an ellipse that is rotated by theta, in radians."""
    cos, sin = math.cos(theta), math.sin(theta)
    return math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)


def _box(shape: _Shape, image_hw: tuple[int, int], where: str) -> XYXY:
    if shape.name == "rect":
        xs, ys = [shape.x, shape.x + shape.width], [shape.y, shape.y + shape.height]
        corners = (xs[0], ys[0], xs[1], ys[1])
    elif shape.name in ("polygon", "polyline"):
        xs, ys = shape.all_points_x, shape.all_points_y
        if not xs or len(xs) != len(ys):
            raise DatasetError(f"{where}: has {len(xs)} x and {len(ys)} y coordinates; expected equally many")
        corners = (min(xs), min(ys), max(xs), max(ys))
    elif shape.name in ("circle", "ellipse"):
        xs, ys = [shape.cx, shape.rx or shape.r], [shape.cy, shape.ry or shape.r]
        half_w, half_h = _half_sides(xs[1], ys[1], shape.theta)
        corners = (shape.cx - half_w, shape.cy - half_h, shape.cx + half_w, shape.cy + half_h)
    else:
        raise DatasetError(f"{where}: is a {shape.name}; expected a polygon, polyline, rect, circle or ellipse")
    return checked_xyxy(
        corners, image_hw, stated=[*xs, *ys], where=f"{where}: box {[round(c, 3) for c in corners]} of its {shape.name}"
    )
