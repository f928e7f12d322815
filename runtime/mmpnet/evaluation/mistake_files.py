"""Lists of mistakes for other programs, and the images with mistakes with their labels, to correct them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import well_formed_values
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.error_analysis import Mistake, Mistakes
from mmpnet.system.files import atomic_write, what_to_do


def write_mistakes(path: Path, mistakes: Mistakes, dataset: Dataset) -> None:
    """Write every mistake as JSON, worst first. Raises: OutputError if the file cannot be written."""
    document = {
        "data": dataset.name,
        "conf": mistakes.conf,
        "hits": mistakes.hits,
        "mistakes": [_as_dict(one, dataset) for one in (*mistakes.false_positives, *mistakes.misses)],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(well_formed_values(document), indent=1) + "\n", encoding="utf-8")


def check_new(folder: Path) -> None:
    """Raises: OutputError if images with mistakes cannot go to this folder, because it has files or is a file."""
    try:
        is_taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(
            f"{folder}: is no folder that can be read ({error.strerror}); give --copy-mistakes a new folder"
        ) from error
    if is_taken:
        raise OutputError(f"{folder}: is not empty; give --copy-mistakes a new folder")


def copy_mistakes(folder: Path, mistakes: Mistakes, dataset: Dataset) -> int:
    """Copy the images with a mistake to FOLDER/images, and write their present labels as COCO to FOLDER/labels.json,
    to be corrected. Returns the number of images.

    Raises: OutputError if the folder is not empty or cannot be written, DatasetError if an image cannot be read.
    """
    check_new(folder)
    rows = sorted({one.index for one in (*mistakes.false_positives, *mistakes.misses)})
    names = [f"{row:06d}-{dataset.images[row].path.name}" for row in rows]
    try:
        (folder / "images").mkdir(parents=True)
        for row, name in zip(rows, names, strict=True):
            (folder / "images" / name).write_bytes(dataset.images[row].content())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); {what_to_do(error)}") from error
    with atomic_write(folder / "labels.json") as partial:
        partial.write_text(json.dumps(well_formed_values(_coco(rows, names, dataset)), indent=1), encoding="utf-8")
    return len(rows)


def _as_dict(mistake: Mistake, dataset: Dataset) -> dict[str, Any]:
    return {
        "image": os.fspath(dataset.images[mistake.index].path),
        "kind": mistake.kind,
        "reason": mistake.reason,
        "class": dataset.class_names[mistake.class_id],
        "xyxy": [round(value, 1) for value in mistake.xyxy.tolist()],
        "score": None if mistake.score is None else round(mistake.score, 4),
        "best_iou": round(mistake.best_iou, 3),
    }


def _coco(rows: Sequence[int], names: Sequence[str], dataset: Dataset) -> dict[str, Any]:
    images = [dataset.images[row] for row in rows]
    labeled = [
        (number, xyxy, class_id, crowd)
        for number, image in enumerate(images, 1)
        for xyxy, class_id, crowd in zip(
            image.boxes_xyxy.tolist(), image.class_ids.tolist(), image.crowd.tolist(), strict=True
        )
    ]
    return {
        "categories": [{"id": index, "name": name} for index, name in enumerate(dataset.class_names) if index > 0],
        "images": [
            {"id": number, "file_name": name, "height": image.image_hw[0], "width": image.image_hw[1]}
            for number, (name, image) in enumerate(zip(names, images, strict=True), 1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": class_id,
                "segmentation": [],  # CVAT refuses a box without this field
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "area": round((x2 - x1) * (y2 - y1), 2),
                "iscrowd": int(crowd),
            }
            for number, (image_id, (x1, y1, x2, y2), class_id, crowd) in enumerate(labeled, 1)
        ],
    }
