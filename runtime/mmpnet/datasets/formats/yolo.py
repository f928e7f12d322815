"""YOLO rows, one .txt per image, with the descriptions of Ultralytics, Darknet, CVAT, labelImg and Label Studio."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import counted
from mmpnet.datasets.checked_labels import Entry, Label, assemble, checked_score, checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import existing, numbered_lines, read_bytes, relative_name, sha256_of
from mmpnet.datasets.formats._pairing import unread_note
from mmpnet.datasets.formats._yolo_files import Description, describing_file, read_description, require_order_of_tool
from mmpnet.datasets.formats._yolo_labels import LabelFiles, label_path_of
from mmpnet.datasets.splits import SPLITS, Split
from mmpnet.datasets.types import Dataset
from mmpnet.datasets.walk import files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import is_file, is_folder

_POINTS_FROM = 9
"""A row with more numbers is a polygon of five points or more; one of nine may also be a rotated box."""
_ROUNDING = 1e-3

LAYOUT = "data.yaml with names and train, val as folders or lists of images; labels/NAME.txt for images/NAME.jpg"


def evidence(path: Path) -> str | None:
    """What at this path indicates YOLO: the YAML file itself, or a file in a folder; None if nothing does."""
    file = describing_file(path)
    if file is None:
        return None
    return file.name if is_file(path) else file.relative_to(path).as_posix()


def splits(path: Path) -> tuple[Split, ...]:
    """The splits that the describing file names; a classes.txt names none.

    Raises: DatasetError if it is malformed, MissingExtraError without pyyaml.
    """
    description = _description(path)
    return tuple(split for split in SPLITS if description.stated.get(split)) if description.divided else ()


def read(path: Path, split: Split, faults: Faults = STRICT) -> Dataset:
    """Read a split; an image without a .txt has no objects. Rows are `class cx cy w h` as fractions of the image, plus
    the confidence if a detector made the row. Longer rows are polygons; their box is the smallest one around them.
    Repeated rows count once, as in Ultralytics. A data.yaml with `names: []` states images of background alone.

    Raises: DatasetError if the description, a list, an image or a row is missing or malformed, if a label file belongs
    to no image, if the label file of an image is in another place, or if a classes.txt numbers the classes differently;
    MissingExtraError.
    """
    description = _description(path)
    whole = not description.divided
    found = _Found()
    for stated in description.stated["train" if whole else split]:
        found.add(stated, description, faults)
    labels = LabelFiles.of(found.images, found.folders, faults)
    with faults:
        require_order_of_tool(description, {label_path_of(image).parent for image in found.images})
    entries, contents = [], [("names", json.dumps(description.names).encode())]
    rows = _Rows(description.names)
    for image in found.images:
        with faults:
            label_path = labels.file_of(image)
            raw = b"" if label_path is None else read_bytes(label_path, expected="rows of numbers")
            stated_path = label_path or label_path_of(image)
            contents.append((relative_name(stated_path, description.root), raw))
            entries.append(rows.entry(image, raw, stated_path, faults))
    with faults:
        rows.require_polygons(description.path)
    with faults:
        if description.names and found.images and not labels.any_found:
            raise DatasetError(
                f"{description.path}: none of the {len(found.images)} images of {split} has a label file; expected "
                f"the first at {label_path_of(found.images[0])}; if they show no objects, write names: [] in data.yaml"
            )
    return assemble(
        description.path,
        name=description.root.resolve().name if whole else f"{description.path.resolve().parent.name}/{split}",
        class_names=description.names,
        entries=entries,
        sha256=sha256_of(contents),
        faults=faults,
        notes=[*found.notes, *labels.notes(), *rows.notes(description.path)],
        may_lack_classes=not description.names,
    )


def _description(path: Path) -> Description:
    file = describing_file(path)
    if file is None:
        raise DatasetError(f"{path}: has no description of YOLO data; expected data.yaml")
    return read_description(file)


@dataclass
class _Found:
    """The images of a split, and the folders among those that it states."""

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, stated: str, description: Description, faults: Faults) -> None:
        """Add the images of one folder, including subfolders, or of one list."""
        place = _place(stated, description)
        if not is_folder(place):
            self.images += _listed_images(place, description, faults)
            return
        if place.resolve() in description.root.resolve().parents:
            raise DatasetError(
                f"{description.path}: states {stated}, which is {place.resolve()}, a folder around the whole dataset; "
                "correct the line"
            )
        files = files_below(place)
        images = list(filter(is_image, files))
        if not images:
            raise DatasetError(f"{description.path}: states {stated}, but {place} has no images; correct the line")
        self.images += images
        self.folders.append(place)
        self.notes += unread_note(files, place)


def _place(stated: str, description: Description) -> Path:
    """The folder or list that a description states.

    Raises: DatasetError if it does not exist, or two places fit.
    """
    root, path = description.root, description.path
    place = existing(root, stated, without="data/")
    # Roboflow's ../train/images is train/images beside data.yaml.
    above, slash, below = stated.replace("\\", "/").partition("/")
    own = existing(root, below) if above == ".." and slash and not below.startswith("..") else None
    if place is not None and own is not None and place.resolve() != own.resolve():
        raise DatasetError(
            f"{path}: states {stated}, which may be {place.resolve()} or {own.resolve()}; write the full path"
        )
    found = place or own
    if found is None:
        raise DatasetError(f"{path}: states {stated[:200]}, but {root}/{stated[:200]} does not exist; correct the line")
    return found


def _listed_images(place: Path, description: Description, faults: Faults) -> Iterator[Path]:
    raw = read_bytes(place, expected="a list of images")
    for number, line in numbered_lines(raw, place):
        with faults:
            image = existing(place.parent, line) or existing(description.root, line, without="data/")
            if image is None or not is_file(image):
                raise DatasetError(f"{place}:{number}: there is no image {line}; correct or remove the line")
            yield image


@dataclass
class _Rows:
    """Turns rows into labels, and remembers what a person should know about them."""

    names: Sequence[str]
    repeated: int = 0
    used: Counter[int] = field(default_factory=Counter)
    """Number of rows of each class."""
    long_rows: list[tuple[float, ...]] = field(default_factory=list)

    def entry(self, image: Path, raw: bytes, label_path: Path, faults: Faults) -> Entry:
        image_hw = image_size_hw(image, error=DatasetError)
        labels: dict[tuple[object, ...], Label] = {}
        for number, line in numbered_lines(raw, label_path):
            with faults:
                numbers = _numbers(line, f"{label_path}:{number}")
                label = _label(numbers, line, self.names, image_hw, f"{label_path}:{number}")
                self.used[int(numbers[0])] += 1
                if len(numbers) > _POINTS_FROM:
                    self.long_rows.append(tuple(numbers[1:]))
                key = (label.class_name, label.xyxy)
                self.repeated += key in labels
                labels.setdefault(key, label)
        return Entry(image, image_hw, list(labels.values()))

    def require_polygons(self, path: Path) -> None:
        """Raises: DatasetError if the long rows are boxes with keypoints, which data.yaml would state as kpt_shape."""
        if _are_poses(self.long_rows):
            raise DatasetError(
                f"{path}: its rows of {len(self.long_rows[0]) + 1} numbers are boxes with keypoints, no polygons; keep "
                "the first five numbers of each row"
            )

    def notes(self, path: Path) -> list[str]:
        """Notes about the rows that were read so far."""
        found = []
        if self.repeated:
            rows = counted(self.repeated, "row", ("repeats", "repeat"))
            found.append(f"{path}: {rows} another one of their image; each box counts once")
        classes = sorted(self.used)
        if classes and classes == list(range(1, len(classes) + 1)):
            rows = counted(self.used[1], "row", ("has", "have"))
            found.append(
                f"{path}: no row has the class 0, {self.names[0]}, and {rows} 1, {self.names[1]}; "
                "if the rows count classes from 1, subtract 1 in each"
            )
        return found


def _numbers(line: str, where: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        raise DatasetError(f"{where}: {line[:80]!r} is not a row of numbers; expected class cx cy w h") from None


def _are_poses(rows: Sequence[Sequence[float]]) -> bool:
    """Whether rows read as cx cy w h and as many points in that box, and not as polygons: w h, taken for the second
    corner of a polygon, lies outside all others."""
    if len({len(row) for row in rows}) != 1:
        return False
    found = [_read_as_pose(row) for row in rows]
    return all(in_box for in_box, _ in found) and any(outside for _, outside in found)


def _read_as_pose(row: Sequence[float]) -> tuple[bool, bool]:
    """Whether the points of a row lie in its box, and whether w h lies outside of them all."""
    cx, cy, w, h = row[:4]
    points = [(x, y) for x, y in zip(row[4::2], row[5::2], strict=True) if x or y]  # 0 0: not visible
    if not points:
        return False, False
    xs, ys = [x for x, _ in points], [y for _, y in points]
    in_box = all(abs(x - cx) <= w / 2 + _ROUNDING and abs(y - cy) <= h / 2 + _ROUNDING for x, y in points)
    return in_box, not (min(xs) <= w <= max(xs) and min(ys) <= h <= max(ys))


def _label(row: Sequence[float], line: str, names: Sequence[str], image_hw: tuple[int, int], where: str) -> Label:
    class_number, *numbers = row
    if class_number not in range(len(names)):
        expected = f"expected 0 to {len(names) - 1}" if names else "expected no row"
        advice = ", as YOLO counts from 0; if all rows count from 1, subtract 1" if class_number == len(names) else ""
        raise DatasetError(f"{where}: class {line.split()[0]}, but there are {len(names)} names; {expected}{advice}")
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
