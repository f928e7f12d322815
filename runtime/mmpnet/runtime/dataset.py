"""Labelled pictures on disk: COCO JSON, read strictly, every fault named by file and entry before any work starts."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray, UInt8Array
from mmpnet.contract.errors import DatasetError
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.runtime.pictures import read_picture

BACKGROUND = "background"
BORDER_TOLERANCE_PX = 1.0
"""Boxes may stick out of the picture by rounding; they are clipped. Further out is an error."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture: boxes_xyxy (N, 4) in px of the stored picture, class_ids (N,), 0 = background unused."""

    path: Path
    image_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    class_ids: IntArray
    areas_px2: FloatArray
    crowd: BoolArray
    scores: FloatArray
    """How sure whoever drew the box was, in (0, 1]: 1 for a person, its score for a detector that labelled pictures."""
    tags: tuple[str, ...] = ()
    """`group` and `source` of the entry, where it has them."""

    def read(self) -> UInt8Array:
        """Pixels (H, W, 3) BGR.

        Raises: DatasetError if the file is unreadable or not of the size that its entry states.
        """
        frame_bgr = read_picture(self.path, error=DatasetError)
        if frame_bgr.shape[:2] != self.image_hw:
            raise DatasetError(
                f"{self.path}: is {frame_bgr.shape[1]}x{frame_bgr.shape[0]} px, its entry says "
                f"{self.image_hw[1]}x{self.image_hw[0]}; correct the entry or the picture"
            )
        return frame_bgr


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures and class names (index 0 is background); sha256 is that of the annotation file."""

    path: Path
    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.path.resolve().parent.name}/{self.path.name}"

    @property
    def num_boxes(self) -> int:
        return sum(len(picture.boxes_xyxy) for picture in self.pictures)


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
    categories: list[_Category]
    images: list[_Image]
    annotations: list[_Annotation] = msgspec.field(default_factory=list)


def resolve_split(data: Path, split: str) -> Path:
    """The annotation file that `--data` means: the file itself, or SPLIT.json in the folder.

    Raises: DatasetError if there is none.
    """
    if is_folder(data):
        data = data / f"{split}.json"
    if not is_file(data):
        raise DatasetError(
            f"{data}: no such file; --data takes a COCO JSON, or a folder with train.json and val.json "
            "(pictures in images/ beside them)"
        )
    return data


def read_coco(path: Path) -> Dataset:
    """Read a COCO detection JSON whose pictures lie in images/ beside it, or beside it directly.

    Raises: DatasetError if the file, an entry or a picture's file is missing or malformed.
    """
    raw = _read_bytes(path)
    content = _parse(raw, path)
    class_ids = {category.id: index + 1 for index, category in enumerate(content.categories)}
    _check_unique(path, "categories", [c.id for c in content.categories])
    for index, category in enumerate(content.categories):
        earlier = {other.name for other in content.categories[:index]}
        if category.name == BACKGROUND or category.name in earlier:
            raise DatasetError(
                f"{path}: categories[{index}]: the name {category.name!r} is "
                + ("reserved" if category.name == BACKGROUND else "there twice")
                + "; rename it, or remove it and its boxes"
            )
    _check_unique(path, "images", [i.id for i in content.images])
    if not content.images or not content.categories:
        raise DatasetError(f"{path}: has no pictures or no categories; expected at least one of each")
    boxes: dict[int, list[tuple[_Annotation, list[float]]]] = {image.id: [] for image in content.images}
    images = {image.id: image for image in content.images}
    for index, annotation in enumerate(content.annotations):
        where = f"{path}: annotations[{index}]"
        if annotation.image_id not in images:
            raise DatasetError(f"{where}: image_id {annotation.image_id} is not in images; remove or correct it")
        if annotation.category_id not in class_ids:
            raise DatasetError(f"{where}: category_id {annotation.category_id} is not in categories")
        image = images[annotation.image_id]
        if annotation.area is not None and not 0 <= annotation.area < math.inf:
            raise DatasetError(
                f"{where} ({image.file_name}): area {annotation.area} is not an area; correct or remove it"
            )
        if not 0 < annotation.score <= 1:
            raise DatasetError(
                f"{where} ({image.file_name}): score {annotation.score} is not in (0, 1]; correct or remove it"
            )
        boxes[image.id].append((annotation, _checked_xyxy(annotation.bbox, image, where)))
    folder = path.parent / "images"
    folder = folder if folder.is_dir() else path.parent
    return Dataset(
        path=path,
        class_names=(BACKGROUND, *(category.name for category in content.categories)),
        pictures=tuple(_picture(image, boxes[image.id], class_ids, folder, path) for image in content.images),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); expected a COCO JSON file") from error


def _parse(raw: bytes, path: Path) -> _CocoFile:
    try:
        # The standard parser, because it lets NaN through: a NaN box is then reported by its entry.
        content: Any = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: is not JSON ({error}); expected a COCO detection file") from error
    try:
        return msgspec.convert(content, _CocoFile)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: is not a COCO detection file: {error}") from error


def _check_unique(path: Path, what: str, ids: list[int]) -> None:
    seen: set[int] = set()
    for index, value in enumerate(ids):
        if value in seen:
            raise DatasetError(f"{path}: {what}[{index}]: id {value} appears twice; ids must be unique")
        seen.add(value)


def _checked_xyxy(bbox: list[float], image: _Image, where: str) -> list[float]:
    if len(bbox) != 4:
        raise DatasetError(f"{where} ({image.file_name}): bbox has {len(bbox)} numbers, expected [x, y, width, height]")
    if not all(math.isfinite(value) for value in bbox):
        raise DatasetError(f"{where} ({image.file_name}): bbox {bbox} is not finite; correct or remove it")
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        raise DatasetError(
            f"{where} ({image.file_name}): bbox {bbox} has no area; expected [x, y, width, height] with sides above 0"
        )
    x2, y2 = x + width, y + height
    reach = BORDER_TOLERANCE_PX
    if x < -reach or y < -reach or x2 > image.width + reach or y2 > image.height + reach:
        raise DatasetError(
            f"{where} ({image.file_name}): bbox {bbox} reaches outside its {image.width}x{image.height} px picture; "
            "expected [x, y, width, height] in pixels of the stored picture"
        )
    clipped = [max(x, 0.0), max(y, 0.0), min(x2, image.width), min(y2, image.height)]
    as_stored = np.array(clipped, np.float32)
    if not (as_stored[2:] > as_stored[:2]).all():
        raise DatasetError(
            f"{where} ({image.file_name}): bbox {bbox} has no area inside its picture; correct or remove it"
        )
    return clipped


def _picture(
    image: _Image,
    boxes: list[tuple[_Annotation, list[float]]],
    class_ids: dict[int, int],
    folder: Path,
    json_path: Path,
) -> Picture:
    path = folder / image.file_name
    if not is_file(path):
        raise DatasetError(f"{json_path}: picture {image.file_name} (image id {image.id}) is not in {folder}")
    if image.width < 1 or image.height < 1:
        raise DatasetError(f"{json_path}: image id {image.id} says {image.width}x{image.height} px")
    xyxy = np.array([corners for _, corners in boxes], np.float32).reshape(-1, 4)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    stated = [annotation.area for annotation, _ in boxes]
    areas = [float(w * h) if area is None else area for area, (w, h) in zip(stated, sides, strict=True)]
    return Picture(
        path=path,
        image_hw=(image.height, image.width),
        boxes_xyxy=xyxy,
        class_ids=np.array([class_ids[annotation.category_id] for annotation, _ in boxes], np.int64),
        areas_px2=np.array(areas, np.float32),
        crowd=np.array([annotation.iscrowd != 0 for annotation, _ in boxes], np.bool_),
        scores=np.array([annotation.score for annotation, _ in boxes], np.float32),
        tags=tuple(tag for tag in (image.group, image.source) if tag),
    )
