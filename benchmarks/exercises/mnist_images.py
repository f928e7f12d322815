"""The MNIST-detection dataset: digits of many sizes scattered over black images, as COCO JSON and PNG.

After assignment 4 of TDT4265 (NTNU). 300x300 px, 1 to 20 digits in an image, squares of 15 to 99 px; every image is a
function of the seed and its number alone.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from exercise_record import make_folder
from mmpnet.console.progress import progress_bar
from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.errors import DatasetError
from mmpnet.media.images import write_image
from mmpnet.system.files import atomic_write, is_file
from mmpnet.train.loading.sampling import generator
from mnist_digits import Digits, Split

CANVAS_PX = 300
COUNT_RANGE = (1, 20)
SIDE_RANGE_PX = (15, 99)
MAX_IOU = 0.25
MAX_DRAWS = 1000
"""Squares drawn for one digit before it is left out. A small square inside a large box has a small IoU, so that even
full images have room: no digit of 11,000 images was left out (a test and the file's `left_out` show it)."""
GENERATOR = 1
"""Version of the recipe: it must change whenever the same seed gives other images."""
_SPLIT_KEYS = {"train": 0, "test": 1}


@dataclass(frozen=True, slots=True)
class Scene:
    """An image (300, 300) uint8, its digits' tight boxes (N, 4) xyxy half-open in px, and the digits (N,)."""

    image: UInt8Array
    boxes_xyxy: FloatArray
    digits: IntArray
    left_out: int


@dataclass(frozen=True, slots=True)
class SplitRecipe:
    """What determines a split's images; kept in its JSON, so that a split of another recipe is recognized."""

    split: Split
    count: int
    seed: int
    mnist_sha256: str
    generator: int = GENERATOR


def draw_scene(digits: Digits, random: np.random.Generator, *, max_draws: int = MAX_DRAWS) -> Scene:
    """Scatter 1 to 20 digits over a black canvas; where they overlap, their ink adds up to white at most."""
    wanted = int(random.integers(COUNT_RANGE[0], COUNT_RANGE[1], endpoint=True))
    ink = np.zeros((CANVAS_PX, CANVAS_PX), np.uint16)
    boxes = np.zeros((0, 4), np.float32)
    labels: list[int] = []
    for _ in range(wanted):
        square = draw_square(boxes, random, max_draws=max_draws)
        index = int(random.integers(len(digits.labels)))
        if square is None:
            continue
        x, y, side = square
        digit = resized(digits.images[index], side)
        region = ink[y : y + side, x : x + side]
        np.minimum(region + digit, 255, out=region)
        boxes = np.concatenate([boxes, tight_box(digit)[None] + np.array([x, y, x, y], np.float32)])
        labels.append(int(digits.labels[index]))
    return Scene(ink.astype(np.uint8), boxes, np.array(labels, np.int64), wanted - len(labels))


def draw_square(
    boxes_xyxy: FloatArray, random: np.random.Generator, *, max_draws: int = MAX_DRAWS
) -> tuple[int, int, int] | None:
    """(x, y, side) of a square inside the canvas whose IoU with every box (N, 4) is below MAX_IOU, or None."""
    for _ in range(max_draws):
        side = int(random.integers(SIDE_RANGE_PX[0], SIDE_RANGE_PX[1], endpoint=True))
        x, y = (int(value) for value in random.integers(0, CANVAS_PX - side, size=2, endpoint=True))
        square = np.array([[x, y, x + side, y + side]], np.float32)
        if not (pairwise_iou(square, boxes_xyxy) >= MAX_IOU).any():
            return x, y, side
    return None


def resized(digit: UInt8Array, side: int) -> UInt8Array:
    """Resize a digit (28, 28) to (side, side)."""
    interpolation = cv2.INTER_AREA if side < len(digit) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(digit, (side, side), interpolation=interpolation), np.uint8)


def tight_box(digit: UInt8Array) -> FloatArray:
    """xyxy (4,) of the rows and columns with ink, half-open, in px of the digit's square."""
    columns, rows = np.flatnonzero(digit.any(axis=0)), np.flatnonzero(digit.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def write_split(folder: Path, digits: Digits, *, split: Split, count: int, seed: int) -> Path:
    """SPLIT.json in the folder with its images in images/; an existing split is left as it is.

    Raises: DatasetError if the existing one has another recipe, OutputError if it cannot be written.
    """
    path = folder / f"{split}.json"
    recipe = SplitRecipe(split, count, seed, digits.sha256)
    if is_file(path):
        _check_recipe(path, recipe)
        return path
    make_folder(folder / "images")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    left_out = 0
    for number in progress_bar(range(1, count + 1), f"drawing {split}"):
        scene = draw_scene(digits, generator(seed, _SPLIT_KEYS[split], number))
        name = f"{split}_{number:05d}.png"
        write_image(folder / "images" / name, scene.image)
        left_out += scene.left_out
        images.append({"id": number, "file_name": name, "width": CANVAS_PX, "height": CANVAS_PX})
        for (x1, y1, x2, y2), digit in zip(scene.boxes_xyxy.tolist(), scene.digits.tolist(), strict=True):
            size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": digit + 1, **size})
    content = {
        "info": {"recipe": asdict(recipe), "left_out": left_out},
        "categories": [{"id": digit + 1, "name": str(digit)} for digit in range(10)],
        "images": images,
        "annotations": annotations,
    }
    with atomic_write(path) as partial:  # last, so that a split with a JSON is complete
        partial.write_text(json.dumps(content))
    return path


def _check_recipe(path: Path, recipe: SplitRecipe) -> None:
    try:
        there = json.loads(path.read_text())["info"]["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: was not made by this exercise; choose another --data") from error
    wanted = asdict(recipe)
    if there != wanted:
        changed = [
            f"{name} {there.get(name)} instead of {value}" for name, value in wanted.items() if there.get(name) != value
        ]
        raise DatasetError(f"{path}: was made with {', '.join(changed)}; choose another --data")
