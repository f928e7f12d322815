"""Entries of a COCO JSON that `formats.coco` reads back to the same images and labels, to the last bit."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmpnet.datasets.types import LabeledImage


def category_entries(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The categories, without the background; ids are class ids."""
    return [{"id": index, "name": name} for index, name in enumerate(class_names) if index > 0]


def image_entry(number: int, image: LabeledImage, file_name: str) -> dict[str, Any]:
    """An image. One in a shard states its place and all of its tags, any other one its group and source."""
    entry: dict[str, Any] = {
        "id": number,
        "file_name": file_name,
        "height": image.image_hw[0],
        "width": image.image_hw[1],
    }
    if image.source is not None:
        entry["source"] = image.source
    part = image.shard
    if part is not None:
        place = {"path": part.shard, "offset": part.offset, "size": part.size, "crc32": part.crc32}
        return entry | {"tags": list(image.tags), "shard": place}
    return entry | ({"group": image.tags[0]} if image.tags else {})


def annotation_entries(images: Sequence[LabeledImage]) -> Iterator[dict[str, Any]]:
    """All boxes; the id of an image is its place in the order, from 1."""
    number = 0
    for image_id, image in enumerate(images, 1):
        for xyxy, class_id, area, crowd, score in zip(
            image.boxes_xyxy.tolist(),
            image.class_ids.tolist(),
            image.areas_px2.tolist(),
            image.crowd.tolist(),
            image.scores.tolist(),
            strict=True,
        ):
            number += 1
            x1, y1, x2, y2 = xyxy
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": class_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": area,
                "iscrowd": int(crowd),
                "score": score,
            }
