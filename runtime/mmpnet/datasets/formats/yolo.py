"""Ultralytics' YOLO layout: data.yaml with names and splits, images/ beside labels/, one .txt per image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.datasets.checked_labels import Entry, Label, assemble, check_class_names, checked_score, checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import numbered_lines, read_bytes, relative_name, sha256_of
from mmpnet.datasets.types import SPLITS, Dataset, Split
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import is_file, is_folder

LAYOUT = "data.yaml with names and train, val as folders or lists of images; labels/NAME.txt for images/NAME.jpg"
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


class _DataYaml(msgspec.Struct, frozen=True):
    names: list[str] | dict[int, str]
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None
    nc: int | None = None
    kpt_shape: Any = None

    def images_of(self, split: Split) -> list[str]:
        """The folders and lists of images that the file states for a split."""
        stated = {"train": self.train, "val": self.val, "test": self.test}[split]
        return [stated] if isinstance(stated, str) else stated or []


def evidence(path: Path) -> str | None:
    """What at this path indicates YOLO: the YAML file itself, or the one in a folder; None if nothing does."""
    if is_file(path):
        return path.name if path.suffix.lower() in (".yaml", ".yml") else None
    return next((name for name in YAML_NAMES if is_file(path / name)), None)


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that the YAML file names.

    Raises: DatasetError if it is malformed, MissingExtraError without pyyaml.
    """
    content = _read_yaml(_yaml_path(path))
    return tuple(split for split in SPLITS if content.images_of(split))


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split; an image without a .txt has no objects. Rows are `class cx cy w h` as fractions of the image, plus
    the confidence if a detector made the row. Longer rows are polygons; their box is the smallest one around them.

    Raises: DatasetError if the YAML, a list, an image or a row is missing or malformed; MissingExtraError.
    """
    path = _yaml_path(path)
    content = _read_yaml(path)
    names = _class_names(content, path)
    root = _root(content, path)
    images = [image for stated in content.images_of(split) for image in _images(root, stated, path, faults)]
    entries, contents = [], [("names", json.dumps(names).encode())]
    for image in images:
        with faults:
            label_path = _label_path(image)
            raw = read_bytes(label_path, expected="rows of numbers") if is_file(label_path) else b""
            contents.append((relative_name(label_path, root), raw))
            entries.append(_entry(image, raw, names, faults))
    with faults:
        if images and not any(is_file(_label_path(image)) for image in images):
            raise DatasetError(
                f"{path}: none of the {len(images)} images of {split} has a label file; "
                f"expected the first at {_label_path(images[0])}"
            )
    return assemble(
        path,
        name=f"{path.resolve().parent.name}/{split}",
        class_names=names,
        entries=entries,
        sha256=sha256_of(contents),
        faults=faults,
    )


def _yaml_path(path: Path) -> Path:
    return path if is_file(path) else path / (evidence(path) or YAML_NAMES[0])


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
    if not names:
        raise DatasetError(f"{path}: has no names; expected at least one class")
    if content.nc is not None and content.nc != len(names):
        raise DatasetError(f"{path}: nc is {content.nc}, but there are {len(names)} names; correct one of them")
    if content.kpt_shape is not None:
        raise DatasetError(f"{path}: kpt_shape states that rows hold keypoints; expected boxes or polygons")
    check_class_names(names, where=f"{path}: names")
    return names


def _root(content: _DataYaml, path: Path) -> Path:
    root = path.parent / content.path if content.path else path.parent
    if not is_folder(root):
        raise DatasetError(f"{path}: path is {content.path}, but {root} is not a folder; correct or remove the line")
    return root


def _images(root: Path, stated: str, yaml_path: Path, faults: Faults) -> list[Path]:
    """The images of one folder, including subfolders, or of one list."""
    place = root / stated
    if not place.exists() and stated.startswith("../"):
        place = root / stated.removeprefix("../")  # Roboflow's paths are relative to another folder
    if is_folder(place):
        found = sorted(path for path in place.rglob("*") if is_image(path.name) and not path.name.startswith("."))
        if not found:
            raise DatasetError(f"{yaml_path}: states {stated}, but {place} has no images; correct the line")
        return found
    if not is_file(place):
        raise DatasetError(f"{yaml_path}: states {stated}, but {place} does not exist; correct the line")
    raw = read_bytes(place, expected="a list of images")
    listed = []
    for number, line in numbered_lines(raw, place):
        with faults:
            if not is_file(place.parent / line):
                raise DatasetError(f"{place}:{number}: there is no image {line}; correct or remove the line")
            listed.append(place.parent / line)
    return listed


def _label_path(image: Path) -> Path:
    """Path of an image's label file: the last images/ becomes labels/; without images/, it is beside the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _entry(image: Path, raw: bytes, names: Sequence[str], faults: Faults) -> Entry:
    image_hw = image_size_hw(image, error=DatasetError)
    label_path = _label_path(image)
    labels = []
    for number, line in numbered_lines(raw, label_path):
        with faults:
            labels.append(_label(line, names, image_hw, f"{label_path}:{number}"))
    return Entry(image, image_hw, labels)


def _label(line: str, names: Sequence[str], image_hw: tuple[int, int], where: str) -> Label:
    try:
        class_number, *numbers = [float(word) for word in line.split()]
    except ValueError:
        raise DatasetError(f"{where}: {line[:80]!r} is not a row of numbers; expected class cx cy w h") from None
    if class_number not in range(len(names)):
        raise DatasetError(
            f"{where}: class {line.split()[0]}, but there are {len(names)} names; expected 0 to {len(names) - 1}"
        )
    height, width = image_hw
    score = 1.0
    if len(numbers) in (4, 5):
        cx, cy, w, h = numbers[:4]
        corners = ((cx - w / 2), (cy - h / 2), (cx + w / 2), (cy + h / 2))
        score = checked_score(numbers[4], where=where) if len(numbers) == 5 else score
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[::2], numbers[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise DatasetError(f"{where}: has {len(numbers) + 1} numbers; expected class cx cy w h, or a polygon")
    x1, y1, x2, y2 = corners
    xyxy = (x1 * width, y1 * height, x2 * width, y2 * height)
    box = checked_xyxy(xyxy, image_hw, stated=numbers, where=f"{where}: box {line[:80]}")
    return Label(box, names[int(class_number)], score=score)
