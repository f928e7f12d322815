"""People of other images pasted into the images to learn from, written as new images.

The boxes have no outlines, so that a person is pasted with the background in its box, and its edges fade into the
image, as Dwibedi et al. (2017, "Cut, paste and learn") blend objects.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmpnet.media.images import read_image, write_image

SHARE = 0.5
"""Share of the images that get people."""
MOST_PEOPLE = 3
HEIGHTS = (0.08, 0.35)
"""Smallest and largest height of a pasted person, as a share of the image's height; nobody is enlarged."""
LEAST_SIZE_PX = (12, 48)
"""Width and height of the smallest box to copy."""
LEAST_SCORE = 0.5
"""Boxes that detectors drew with a lower score are not pasted; a box without a score counts as one that people drew."""
MOST_COVERED = 0.3
"""Largest share of a box that a pasted person may cover."""
FADE = 0.15
"""Share of the width and height, at each edge, over which a pasted person fades."""
_TRIES = 10

Box = tuple[float, float, float, float]
"""x, y, width and height in px of the image."""


@dataclass(frozen=True, slots=True)
class Person:
    """A box to copy, and the image that it is in."""

    path: Path
    xywh: Box
    category_id: int


def with_pasted_people(entries: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Return the entries; about half of them have up to three people of other entries, in new images in this folder.

    The same entries get the same people at the same places.
    """
    drawn = random.Random(0)
    # An image is drawn before a person in it: images of crowds would otherwise give most of the people.
    sources = [people for entry in entries if (people := people_to_copy(entry))]
    folder.mkdir(parents=True, exist_ok=True)
    pasted: list[dict[str, Any]] = []
    for number, entry in enumerate(entries):
        if sources and drawn.random() < SHARE:
            chosen = [drawn.choice(drawn.choice(sources)) for _ in range(drawn.randint(1, MOST_PEOPLE))]
            others = [person for person in chosen if person.path != Path(entry["image"]["file_name"])]
            entry = _pasted(entry, others, folder / f"{number:06d}.png", drawn)
        pasted.append(entry)
    return pasted


def people_to_copy(entry: dict[str, Any]) -> list[Person]:
    """Return the boxes that are sure, large enough, upright, inside the image, and free of other boxes."""
    boxes = [_box(box["bbox"]) for box in entry["boxes"]]
    image = entry["image"]
    found = []
    for index, (box, (x, y, width, height)) in enumerate(zip(entry["boxes"], boxes, strict=True)):
        others = boxes[:index] + boxes[index + 1 :]
        sure = box.get("score", 1.0) >= LEAST_SCORE and not box.get("iscrowd") and not box.get("ignore")
        whole = x >= 1 and y >= 1 and x + width <= image["width"] - 1 and y + height <= image["height"] - 1
        free = not any(covered(other, (x, y, width, height)) > 0 for other in others)
        large = width >= LEAST_SIZE_PX[0] and height >= LEAST_SIZE_PX[1]
        if sure and whole and free and large and height >= 1.2 * width:
            found.append(Person(Path(image["file_name"]), (x, y, width, height), box["category_id"]))
    return found


def covered(box: Box, by: Box) -> float:
    """Return the share of a box that another one covers."""
    width = min(box[0] + box[2], by[0] + by[2]) - max(box[0], by[0])
    height = min(box[1] + box[3], by[1] + by[3]) - max(box[1], by[1])
    return max(width, 0) * max(height, 0) / max(box[2] * box[3], 1e-9)


def paste(image_bgr: NDArray[np.uint8], person_bgr: NDArray[np.uint8], left: int, top: int) -> None:
    """Blend a person into an image, which is changed; its edges fade."""
    height, width = person_bgr.shape[:2]
    alpha = np.outer(_fading(height), _fading(width))[:, :, None]
    part = image_bgr[top : top + height, left : left + width]
    part[:] = np.rint(alpha * person_bgr + (1 - alpha) * part).astype(np.uint8)


def _box(xywh: Sequence[float]) -> Box:
    x, y, width, height = map(float, xywh)
    return x, y, width, height


def _fading(length: int) -> NDArray[np.float64]:
    """Weights of a row of pixels: rising to 1 at one end, falling at the other."""
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(distance / (FADE * length + 1), 1.0)


def _pasted(entry: dict[str, Any], people: Sequence[Person], path: Path, drawn: random.Random) -> dict[str, Any]:
    image_bgr = read_image(Path(entry["image"]["file_name"]))
    boxes = list(entry["boxes"])
    for person in people:
        place = _place(entry, boxes, person, drawn)
        if place is not None:
            x, y, width, height = (round(number) for number in person.xywh)
            left, top, new_width, new_height = place
            person_bgr = read_image(person.path)[y : y + height, x : x + width]
            resized = cv2.resize(person_bgr, (new_width, new_height), interpolation=cv2.INTER_AREA)
            paste(image_bgr, resized.astype(np.uint8, copy=False), left, top)
            area = new_width * new_height
            boxes.append({"category_id": person.category_id, "bbox": list(place), "area": area, "iscrowd": 0})
    if len(boxes) == len(entry["boxes"]):
        return entry
    write_image(path, image_bgr)
    return {**entry, "image": {**entry["image"], "file_name": str(path.absolute())}, "boxes": boxes}


def _place(
    entry: dict[str, Any], boxes: Sequence[dict[str, Any]], person: Person, drawn: random.Random
) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height in px at which the person covers little of all boxes; None if none was found."""
    image_width, image_height = entry["image"]["width"], entry["image"]["height"]
    least, most = HEIGHTS[0] * image_height, min(HEIGHTS[1] * image_height, person.xywh[3])
    for _ in range(_TRIES if most >= least else 0):
        height = round(least * (most / least) ** drawn.random())
        width = max(round(height * person.xywh[2] / person.xywh[3]), 1)
        if width < image_width and height < image_height:
            left, top = drawn.randrange(image_width - width), drawn.randrange(image_height - height)
            place = (left, top, width, height)
            if all(covered(box["bbox"], place) <= MOST_COVERED for box in boxes):
                return place
    return None
