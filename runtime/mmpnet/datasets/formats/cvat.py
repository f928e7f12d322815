"""CVAT's own format, *CVAT for images 1.1*: annotations.xml with all images and their shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import XYXY, Entry, Label, assemble, check_class_names, checked_xyxy, class_names_of
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import SPLIT_FOLDERS, name_of, read_bytes, sha256_of
from mmpnet.datasets.formats._image_folder import ImageFolder, image_folder, unnamed_note
from mmpnet.datasets.formats._rotation import around_rotated, rotation_note
from mmpnet.datasets.formats._xml import is_cvat, parsed
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.datasets.types import Dataset
from mmpnet.media.image_size import image_size_hw
from mmpnet.system.files import is_file

LAYOUT = "annotations.xml of CVAT for images beside the images or images/"
XML_NAME = "annotations.xml"
_NO_SHAPES = ("tag", "attribute")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def evidence(path: Path) -> str | None:
    """What at this path indicates CVAT: the XML itself, or the one in a folder; None if nothing does."""
    return _xml_path(path).name if is_cvat(_xml_path(path)) else None


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that the images state as their subsets; none if one of them states no known one.

    Raises: DatasetError if the file is malformed, MissingExtraError without defusedxml.
    """
    found = {_split_of(image) for image in _root(_xml_path(path)).iter("image")}
    return () if None in found else tuple(split for split in SPLITS if split in found)


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split, or the whole file if it has none. The box of a polygon, ellipse or mask is the smallest one around
    it; a rotated box becomes the smallest upright box around it. Shapes that are `outside` have left the image.

    Raises: DatasetError if the file, an image or a shape is missing or malformed; MissingExtraError.
    """
    xml_path = _xml_path(path)
    root = _root(xml_path)
    divided = split in splits(path)
    images = [image for image in root.iter("image") if not divided or _split_of(image) == split]
    if root.find("track") is not None:
        raise DatasetError(f"{xml_path}: is CVAT for video, with tracks; export it as CVAT for images")
    folder = image_folder(xml_path, [image.get("name", "") for image in images])
    entries, rotated = [], 0
    for image in images:
        with faults:
            entries.append(_entry(image, folder, f"{xml_path}: {image.get('name')}", faults))
            rotated += sum(_rotation(shape) != 0 for shape in image)
    class_names = list(dict.fromkeys([*_stated_classes(root), *class_names_of(entries)]))
    check_class_names(class_names, where=f"{xml_path}: labels")
    return assemble(
        path,
        name=name_of(xml_path.parent, split, whole=not divided),
        class_names=class_names,
        entries=entries,
        sha256=sha256_of([(xml_path.name, read_bytes(xml_path, expected="CVAT's annotations.xml"))]),
        faults=faults,
        may_lack_classes=True,
        notes=[*rotation_note(xml_path, rotated), *_unnamed(root, folder, xml_path)],
    )


def _unnamed(root: Any, folder: ImageFolder, xml_path: Path) -> list[str]:
    """Notes about images that no subset names."""
    return unnamed_note(xml_path, [folder.chosen / image.get("name", "") for image in root.iter("image")])


def _xml_path(path: Path) -> Path:
    return path if is_file(path) else path / XML_NAME


def _root(path: Path) -> Any:
    expected = "<annotations> of CVAT for images"
    return parsed(read_bytes(path, expected=expected), path, root="annotations", expected=expected)


def _split_of(image: Any) -> Split | None:
    subset = (image.get("subset") or "").lower()
    return next((split for split in SPLITS if subset in SPLIT_FOLDERS[split]), None)


def _stated_classes(root: Any) -> list[str]:
    """The labels of the task or project, in its order; those of skeletons' points are not classes."""
    meta = root.find("meta")
    names = (
        [] if meta is None else [label.findtext("name") for label in meta.iter("label") if label.find("parent") is None]
    )
    return [name for name in names if name]


def _entry(image: Any, folder: ImageFolder, where: str, faults: Faults) -> Entry:
    path = folder.find(image.get("name", ""), where=f"{where}: image {image.get('name')}")
    stated = image.get("width"), image.get("height")
    image_hw = (
        image_size_hw(path, error=DatasetError)
        if None in stated
        else (int(_number(image, "height", where)), int(_number(image, "width", where)))
    )
    labels = []
    for index, shape in enumerate(one for one in image if one.tag not in _NO_SHAPES and one.get("outside") != "1"):
        with faults:
            labels.append(_label(shape, image_hw, f"{where}: {shape.tag} {index}"))
    return Entry(path, image_hw, labels)


def _label(shape: Any, image_hw: tuple[int, int], where: str) -> Label:
    name = (shape.get("label") or "").strip()
    if not name:
        raise DatasetError(f"{where} has no label; expected the name of its class")
    corners = _corners(shape, f"{where} ({name})")
    turned = around_rotated(corners, _rotation(shape), image_hw)
    box = checked_xyxy(turned, image_hw, stated=corners, where=f"{where} ({name}): {[round(c, 3) for c in corners]}")
    return Label(box, name)


def _corners(shape: Any, where: str) -> XYXY:
    if shape.tag == "box":
        x1, y1, x2, y2 = (_number(shape, key, where) for key in _CORNERS)
        return x1, y1, x2, y2
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
        return cx - rx, cy - ry, cx + rx, cy + ry
    if shape.tag == "mask":
        left, top, width, height = (_number(shape, key, where) for key in ("left", "top", "width", "height"))
        return left, top, left + width, top + height
    if shape.tag == "polygon":
        points = _points(shape.get("points") or "", where)
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return min(xs), min(ys), max(xs), max(ys)
    raise DatasetError(f"{where}: is a {shape.tag}; expected a box, polygon, ellipse or mask")


def _points(text: str, where: str) -> Sequence[tuple[float, float]]:
    try:
        return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split(";"))]
    except ValueError:
        raise DatasetError(f"{where}: points are {text[:80]!r}; expected x,y;x,y;...") from None


def _rotation(shape: Any) -> float:
    try:
        return float(shape.get("rotation") or 0)
    except ValueError:
        return 0.0


def _number(node: Any, key: str, where: str) -> float:
    text = node.get(key) or ""
    try:
        return float(text)
    except ValueError:
        raise DatasetError(f"{where}: {key} is {text!r}; expected a number") from None
