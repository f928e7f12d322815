"""Images of COCO JSON files with their boxes, to choose from and to write again."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.open import open_dataset


def coco_entries(path: Path) -> list[dict[str, Any]]:
    """The images of a COCO JSON, each with its boxes and the categories of the file; names are absolute, and an image
    without a source has the source "".

    Raises: DatasetError for a file that mmp-train would not take.
    """
    found = open_dataset(path, "train").images
    document = json.loads(path.read_text())
    boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for box in document["annotations"]:
        boxes[box["image_id"]].append(box)
    return [
        {
            "image": {**image, "file_name": str(one.path.absolute()), "source": image.get("source", "")},
            "boxes": boxes[image["id"]],
            "categories": document["categories"],
        }
        for image, one in zip(document["images"], found, strict=True)
    ]


def write_entries(path: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """Write images of one or several files, at least one, as one COCO JSON; returns its path.

    Raises: DatasetError if the files have other categories, or number them in another way.
    """
    categories = entries[0]["categories"]
    other = next((entry["categories"] for entry in entries if entry["categories"] != categories), None)
    if other is not None:
        raise DatasetError(
            f"the files have different categories, {categories} and {other}; give files that have the same ones"
        )
    images = [{**entry["image"], "id": number} for number, entry in enumerate(entries)]
    boxes = [{**box, "image_id": number} for number, entry in enumerate(entries) for box in entry["boxes"]]
    numbered = [{**box, "id": number} for number, box in enumerate(boxes)]
    document = {"images": images, "annotations": numbered, "categories": categories}
    path.write_text(json.dumps(document))
    return path
