"""The labels of collected images as other tools read them: COCO (CVAT), YOLO, and tasks of Label Studio."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from mmpnet.collect.records import LABELS, CollectedBox, CollectedImage
from mmpnet.contract.text import well_formed_values
from mmpnet.system.files import atomic_write

TASKS, INTERFACE, YOLO = "label-studio/tasks.json", "label-studio/interface.xml", "yolo/data.yaml"


def write_label_files(folder: Path, images: Sequence[CollectedImage], class_names: Sequence[str]) -> None:
    """Write labels.json, label-studio/tasks.json and its interface.xml, and yolo/data.yaml.

    YOLO and Label Studio know no box that is to be ignored, so with one of these there is COCO only.

    Raises: OutputError if a file cannot be written; older files then stay.
    """
    _write(folder / LABELS, json.dumps(well_formed_values(coco_document(images, class_names)), indent=1))
    if any(box.ignored for image in images for box in image.boxes):
        return
    names = class_names[1:]
    _write(folder / TASKS, json.dumps(well_formed_values([_task(one, class_names) for one in images]), indent=1))
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    _write(
        folder / INTERFACE,
        '<View>\n  <Image name="image" value="$image"/>\n  <RectangleLabels name="label" toName="image">\n'
        f"{labels}  </RectangleLabels>\n</View>\n",
    )
    listed = "".join(f"  {index}: {json.dumps(name)}\n" for index, name in enumerate(names))
    _write(folder / YOLO, f"train: ../images\nval: ../images\nnames:\n{listed}")


def write_yolo_labels(folder: Path, image: CollectedImage) -> None:
    """Write labels/NAME.txt: `class cx cy w h` as fractions of the image, class 0 is the first after background."""
    rows = []
    for box in image.boxes:
        center_x, center_y = (box.x1 + box.x2) / 2 / image.width, (box.y1 + box.y2) / 2 / image.height
        sides = (box.x2 - box.x1) / image.width, (box.y2 - box.y1) / image.height
        rows.append(f"{box.class_id - 1} {center_x:.6f} {center_y:.6f} {sides[0]:.6f} {sides[1]:.6f}\n")
    _write(folder / "labels" / Path(image.name).with_suffix(".txt"), "".join(rows))


def coco_document(images: Sequence[CollectedImage], class_names: Sequence[str]) -> dict[str, Any]:
    """COCO's detection JSON; file names are those in images/, without a folder, as CVAT matches them."""
    pairs = [(number, box) for number, image in enumerate(images, 1) for box in image.boxes]
    return {
        "categories": [{"id": index, "name": name} for index, name in enumerate(class_names) if index > 0],
        "images": [
            {
                "id": number,
                "file_name": image.name,
                "width": image.width,
                "height": image.height,
                "source": image.source,
            }
            for number, image in enumerate(images, 1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": box.class_id,
                "segmentation": [],  # CVAT refuses a box without this field
                "bbox": _xywh(box),
                "area": round((box.x2 - box.x1) * (box.y2 - box.y1), 2),
                "iscrowd": int(box.ignored),
                "score": box.score,
            }
            for number, (image_id, box) in enumerate(pairs, 1)
        ],
    }


def _task(image: CollectedImage, class_names: Sequence[str]) -> dict[str, Any]:
    """One task of Label Studio with its predictions; boxes are in percent of the image."""
    result = [
        {
            "id": f"box{number}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "score": box.score,
            "value": {
                "x": round(100 * box.x1 / image.width, 4),
                "y": round(100 * box.y1 / image.height, 4),
                "width": round(100 * (box.x2 - box.x1) / image.width, 4),
                "height": round(100 * (box.y2 - box.y1) / image.height, 4),
                "rotation": 0,
                "rectanglelabels": [class_names[box.class_id]],
            },
        }
        for number, box in enumerate(image.boxes, 1)
    ]
    model = "+".join(image.labeled_by)
    return {
        "data": {"image": f"/data/local-files/?d=images/{image.name}"},
        "predictions": [{"model_version": model, "result": result}],
    }


def _xywh(box: CollectedBox) -> list[float]:
    return [round(value, 2) for value in (box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1)]


def _write(path: Path, text: str) -> None:
    with atomic_write(path, parents=True) as partial:
        partial.write_text(text, encoding="utf-8")
