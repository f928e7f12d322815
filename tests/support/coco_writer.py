"""A small dataset in COCO's format."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_coco(path: Path, *, count: int, seed: int, size_hw: tuple[int, int] = (96, 128)) -> Path:
    """A COCO JSON at `path` with `count` noisy images in images/ beside it; every fourth has no person.

    People are bright upright rectangles. Groups alternate between `street` and `yard`.
    """
    random = np.random.default_rng(seed)
    height, width = size_hw
    (path.parent / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(1, count + 1):
        frame = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
        name = f"{path.stem}_{number:03d}.png"
        images.append(
            {
                "id": number,
                "file_name": name,
                "width": width,
                "height": height,
                "group": "street" if number % 2 else "yard",
                "source": "synthetic",
            }
        )
        for _ in range(0 if number % 4 == 0 else int(random.integers(1, 4))):
            box_w = int(random.integers(12, 36))
            box_h = int(random.integers(box_w, 80))
            x, y = int(random.integers(0, width - box_w)), int(random.integers(0, height - box_h))
            cv2.rectangle(frame, (x, y), (x + box_w - 1, y + box_h - 1), (60, 220, 250), cv2.FILLED)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 7,
                    "bbox": [x, y, box_w, box_h],
                    "area": box_w * box_h,
                    "iscrowd": 0,
                }
            )
        cv2.imwrite(str(path.parent / "images" / name), frame)
    content = {"categories": [{"id": 7, "name": "person"}], "images": images, "annotations": annotations}
    path.write_text(json.dumps(content))
    return path
