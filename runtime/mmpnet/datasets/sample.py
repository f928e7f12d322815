"""A data set of drawn images, so that every command can be tried without data and offline.

The people are figures of ellipses, good for seeing that training works, not for a model to be used.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.media.images import write_image
from mmpnet.system.files import atomic_write, is_file

NAME, MARK = "sample", "made-by-mmpnet.txt"
COUNTS = {"train": 48, "val": 16}
SIZE_HW = (240, 320)
MOST_PEOPLE, LARGEST_IOU = 4, 0.3


def is_sample(folder: Path) -> bool:
    """Whether `write_sample` made this folder."""
    return is_file(folder / MARK)


def write_sample(folder: Path) -> None:
    """Write train.json, val.json and images/, the same in each call. Raises: OutputError if they cannot be written."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(COUNTS.items()):
        random = np.random.default_rng(seed)
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for number in range(1, count + 1):
            frame_bgr, boxes = _scene(random, people=number % (MOST_PEOPLE + 1))
            name = f"{split}-{number:03d}.jpg"
            write_image(folder / "images" / name, frame_bgr)
            images.append({"id": number, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]})
            for x1, y1, x2, y2 in boxes:
                bbox = [x1, y1, x2 - x1, y2 - y1]
                one = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": bbox, "iscrowd": 0}
                annotations.append({**one, "area": bbox[2] * bbox[3], "segmentation": []})
        document = {"categories": [{"id": 1, "name": "person"}], "images": images, "annotations": annotations}
        with atomic_write(folder / f"{split}.json") as partial:
            partial.write_text(json.dumps(document))
    with atomic_write(folder / MARK) as partial:
        partial.write_text("mmpnet drew these images; they are in the public domain (CC0 1.0).\n")


def _scene(random: np.random.Generator, *, people: int) -> tuple[UInt8Array, list[tuple[int, int, int, int]]]:
    """A room with boxes as furniture, and people in it; boxes of the people in px."""
    height, width = SIZE_HW
    frame = np.empty((height, width, 3), np.uint8)
    horizon = int(random.integers(height // 3, height // 2))
    frame[:horizon], frame[horizon:] = random.integers(120, 220, 3), random.integers(40, 120, 3)
    for _ in range(4):
        x, y = int(random.integers(0, width)), int(random.integers(horizon // 2, height))
        w, h = int(random.integers(20, 90)), int(random.integers(15, 60))
        cv2.rectangle(frame, (x, y), (x + w, y + h), random.integers(0, 256, 3).tolist(), cv2.FILLED)
    boxes: list[tuple[int, int, int, int]] = []
    while len(boxes) < people:
        tall = int(random.integers(40, 170))
        wide = round(tall * float(random.uniform(0.3, 0.42)))
        x1, y1 = int(random.integers(0, width - wide)), int(random.integers(0, height - tall))
        box = np.array([[x1, y1, x1 + wide, y1 + tall]], np.float32)
        if boxes and pairwise_iou(box, np.array(boxes, np.float32)).max() > LARGEST_IOU:
            continue
        boxes.append((x1, y1, x1 + wide, y1 + tall))
        _draw_person(frame, boxes[-1], random)
    noise = random.integers(-8, 9, frame.shape)
    return np.clip(frame.astype(np.int64) + noise, 0, 255).astype(np.uint8), boxes


def _draw_person(frame_bgr: UInt8Array, box: tuple[int, int, int, int], random: np.random.Generator) -> None:
    """A head, a trunk and two legs that fill the box, in place."""
    x1, y1, x2, y2 = box
    tall, wide, middle = y2 - y1, x2 - x1, (x1 + x2) // 2
    trousers, shirt = random.integers(0, 130, 3).tolist(), random.integers(60, 256, 3).tolist()
    skin = (np.array([140, 170, 215]) * random.uniform(0.4, 1.1)).clip(0, 255).astype(int).tolist()
    for left, right in ((x1 + wide // 6, middle - 1), (middle + 1, x2 - wide // 6)):
        cv2.rectangle(frame_bgr, (left, y1 + tall // 2), (right, y2 - 1), trousers, cv2.FILLED)
    trunk = (middle, y1 + round(tall * 0.36)), (wide // 2, round(tall * 0.2))
    cv2.ellipse(frame_bgr, *trunk, 0, 0, 360, shirt, cv2.FILLED, cv2.LINE_AA)
    head = max(round(tall * 0.09), 2)
    cv2.circle(frame_bgr, (middle, y1 + head), head, skin, cv2.FILLED, cv2.LINE_AA)
