"""Pascal VOC: one XML per image, corners as 1-based inclusive pixels (Everingham et al. 2010)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.checked_labels import Entry, Label, assemble, check_class_names, checked_xyxy, class_names_of
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import (
    labeled_folders,
    name_of,
    numbered_lines,
    read_bytes,
    relative_name,
    sha256_of,
)
from mmpnet.datasets.formats._pairing import ByKey, NearNames, by_key, pair, unread_note
from mmpnet.datasets.formats._rotation import around_rotated, rotation_note
from mmpnet.datasets.formats._voc_corners import Convention, as_points, convention_note, conventions_of
from mmpnet.datasets.formats._xml import is_cvat, parsed
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import file_names, files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import is_file, is_folder

LAYOUT = "Annotations/NAME.xml and JPEGImages/NAME.jpg, or NAME.xml beside NAME.jpg"
SPLIT_LISTS = Path("ImageSets", "Main")
_FOLDER_PAIRS = (("Annotations", "JPEGImages"), ("annotations", "images"), ("Annotations", "images"))
MOST_SIDE_PX = 1_000_000
"""Largest image side that an annotation may state."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def evidence(path: Path) -> str | None:
    """What in this folder indicates VOC; None if nothing does."""
    if not is_folder(path):
        return None
    folders = _apart(path)
    if folders is not None:
        return f"{folders[0].name}/*.xml"
    if _has_xml(path):
        return "*.xml"
    beside = labeled_folders(path, _has_xml)
    return f"{next(iter(beside.values())).name}/*.xml" if beside else None


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that ImageSets/Main lists, or that have a folder. Without train.txt, `train` is trainval.txt."""
    if _apart(path) is not None:
        return tuple(split for split in SPLITS if _split_list(path, split) is not None)
    return tuple(labeled_folders(path, _has_xml))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split, or everything if there are no splits. Files are paired by name; `filename` and `path` inside the
    XML are ignored. `difficult` objects become crowd: not used for training, not counted as missed.

    Corners are inclusive pixels counted from 1, as in VOC itself, unless the file names another tool in its `database`,
    or the files have corners at 0: see `_voc_corners`.

    Raises: DatasetError if a file or an object is missing or malformed; MissingExtraError without defusedxml.
    """
    labeled = splits(path)
    label_folder, image_folder = _folders(path, split)
    files = files_below(image_folder)
    parts, contents = [], []
    for image, xml_path in _pairs(path, split, files, faults):
        with faults:
            raw = read_bytes(xml_path, expected="a VOC annotation")
            contents.append((relative_name(xml_path, label_folder), raw))
            parts.append((image, xml_path, parsed(raw, xml_path, root="annotation", expected="VOC's <annotation>")))
    conventions = conventions_of([root for _, _, root in parts])
    entries, rotated = [], 0
    bare = _listed_without_xml(path, split, files)
    for image in bare:
        with faults:
            entries.append(Entry(image, image_size_hw(image, error=DatasetError), []))
    for (image, xml_path, root), convention in zip(parts, conventions, strict=True):
        with faults:
            entries.append(_entry(image, xml_path, root, convention, faults))
            rotated += sum(_rotation(node) != 0 for node in root.findall("object"))
    class_names = class_names_of(entries)
    check_class_names(class_names, where=f"{path}: classes")
    return assemble(
        path,
        name=name_of(path, split, whole=not labeled),
        class_names=class_names,
        entries=entries,
        sha256=sha256_of(contents),
        faults=faults,
        may_lack_classes=True,
        notes=[
            *unread_note(files, image_folder),
            *_bare_note(path, bare),
            *rotation_note(path, rotated),
            *convention_note(path, conventions),
        ],
    )


def _has_xml(folder: Path) -> bool:
    return any(_is_xml(folder / name) for name in file_names(folder))


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml" and not is_cvat(file)


def _apart(path: Path) -> tuple[Path, Path] | None:
    """The folders of annotations and of images, if they are separate."""
    for labels, images in _FOLDER_PAIRS:
        if is_folder(path / images) and is_folder(path / labels) and any(map(_is_xml, files_below(path / labels))):
            return path / labels, path / images
    return None


def _split_list(path: Path, split: Split) -> Path | None:
    names = ("train.txt", "trainval.txt") if split == "train" else (f"{split}.txt",)
    return next((path / SPLIT_LISTS / name for name in names if is_file(path / SPLIT_LISTS / name)), None)


def _folders(path: Path, split: Split) -> tuple[Path, Path]:
    """The folders of annotations and of images of a split."""
    folder = labeled_folders(path, _has_xml).get(split, path)
    return _apart(path) or (folder, folder)


def _pairs(path: Path, split: Split, files: Sequence[Path], faults: Faults) -> list[tuple[Path, Path]]:
    """Each image of a split with its XML; files: those below the folder of images."""
    label_folder, image_folder = _folders(path, split)
    labels: ByKey = by_key(filter(_is_xml, files_below(label_folder)), label_folder)
    images: ByKey = by_key(filter(is_image, files), image_folder)
    listed = _split_list(path, split) if splits(path) else None
    if listed is not None:
        labels = {key: labels[key] for key in _listed(listed, labels, images, faults)}
        images = {key: images[key] for key in images if key in labels}
    return pair(images, labels, NearNames(files, image_folder), faults)


def _listed(path: Path, labels: ByKey, images: ByKey, faults: Faults) -> list[str]:
    """The names of a list that have an XML."""
    keys = []
    for number, line in numbered_lines(read_bytes(path, expected="a list of names"), path):
        with faults:
            if line not in labels and line not in images:
                raise DatasetError(f"{path}:{number}: there is no annotation {line}.xml; add it, or remove the line")
            if line in labels:
                keys.append(line)
    return keys


def _listed_without_xml(path: Path, split: Split, files: Sequence[Path]) -> list[Path]:
    """The images of a split's list without an XML: CVAT writes none for an image without objects."""
    listed = _split_list(path, split) if splits(path) else None
    if listed is None:
        return []
    label_folder, image_folder = _folders(path, split)
    labels = by_key(filter(_is_xml, files_below(label_folder)), label_folder)
    images = by_key(filter(is_image, files), image_folder)
    lines = [line for _, line in numbered_lines(read_bytes(listed, expected="a list of names"), listed)]
    return [images[line][0] for line in lines if line in images and line not in labels]


def _bare_note(path: Path, images: Sequence[Path]) -> list[str]:
    """A note about images without XML; empty if there are none."""
    if not images:
        return []
    return [
        f"{path}: {counted(len(images), 'listed image')}, such as {images[0].name}, without XML: taken as background"
    ]


def _entry(image: Path, xml_path: Path, root: Any, convention: Convention, faults: Faults) -> Entry:
    image_hw = _stated_hw(root, xml_path) or image_size_hw(image, error=DatasetError)
    labels = []
    for index, node in enumerate(root.findall("object")):
        with faults:
            labels.append(_label(node, image_hw, convention, f"{xml_path}: object[{index}]"))
    return Entry(image, image_hw, labels)


def _stated_hw(root: Any, path: Path) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    height, width = (_number(size, side, f"{path}: size") for side in ("height", "width"))
    if not (1 <= height <= MOST_SIDE_PX and 1 <= width <= MOST_SIDE_PX):
        raise DatasetError(f"{path}: size states {width:g}x{height:g} px; correct or remove it")
    return int(height), int(width)


def _label(node: Any, image_hw: tuple[int, int], convention: Convention, where: str) -> Label:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise DatasetError(f"{where}: has no name; expected the name of its class")
    found = node.findall("bndbox")
    if len(found) != 1:
        count = f"{len(found)}" if found else "no"
        raise DatasetError(f"{where} ({name}): has {count} bndbox; expected one, with {', '.join(_CORNERS)}")
    corners = found[0]
    stated = [_number(corners, corner, f"{where} ({name}): bndbox") for corner in _CORNERS]
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise DatasetError(f"{where} ({name}): difficult is {difficult!r}; expected 0 or 1")
    upright = around_rotated(as_points(stated, convention), _rotation(node), image_hw)
    box = checked_xyxy(upright, image_hw, stated=stated, where=f"{where} ({name}): bndbox {list(stated)}")
    return Label(box, name, crowd=difficult == "1")


def _rotation(node: Any) -> float:
    """The rotation in degrees that CVAT writes as an attribute; 0 without one."""
    for attribute in node.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            return _number(attribute, "value", "attribute rotation")
    return 0.0


def _number(node: Any, tag: str, where: str) -> float:
    text = (node.findtext(tag) or "").strip()
    try:
        return float(text)
    except ValueError:
        raise DatasetError(f"{where}: {tag} is {text!r}; expected a number") from None
