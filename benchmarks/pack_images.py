"""Pack labeled images into one folder for a machine that is rented by the minute.

The images become WebP of at most `--longest-side` px, which is a tenth of the bytes that have to be sent and as many
pixels as training at that size uses. Boxes, scores, groups and sources stay as they are, in train.json and val.json.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.contract.errors import OutputError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset, LabeledImage

app = script_app()


@app.command()
def pack_images(
    data: Annotated[list[Path], typer.Option(help="Labeled images with a train split. May be repeated.")],
    val: Annotated[list[Path], typer.Option(help="Labeled images to evaluate on. May be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    longest_side: Annotated[int, typer.Option(min=32, help="Largest side of a packed image in px.")] = 416,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of the WebP images.")] = 80,
    as_json: Json = False,
) -> None:
    """Pack the train split of --data and the val split of --val."""
    with exit_on_error():
        if output.exists():
            raise OutputError(f"{output}: exists; remove it, or choose another folder")
        (output / "images").mkdir(parents=True)
        document: dict[str, Any] = {"longest_side_px": longest_side, "quality": quality}
        for split, paths in (("train", data), ("val", val)):
            dataset = load_dataset(paths, "train" if split == "train" else "val")
            document[split] = _pack(dataset, split, output, longest_side, quality)
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        document["bytes"] = size
        counts = f"{document['train']} images to learn from, {document['val']} to evaluate on"
        show(f"{output}: {counts}, {size / 1e6:.1f} MB")
        if as_json:
            write_json(document)


def _pack(dataset: Dataset, split: str, output: Path, longest_side: int, quality: int) -> int:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(progress_bar(dataset.images, f"packing {split}"), 1):
        frame_bgr = image.read()
        height, width = frame_bgr.shape[:2]
        scale = min(1.0, longest_side / max(height, width))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale < 1.0:
            frame_bgr = np.asarray(cv2.resize(frame_bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        name = f"{split}_{number:06d}.webp"
        if not cv2.imwrite(str(output.resolve() / "images" / name), frame_bgr, [cv2.IMWRITE_WEBP_QUALITY, quality]):
            raise OutputError(f"{output / 'images' / name}: cannot be written; free space on that disk")
        images.append({"id": number, "file_name": name, "width": size_wh[0], "height": size_wh[1], **_origin(image)})
        factors = (size_wh[0] / width, size_wh[1] / height)
        annotations += _annotations(image, number, factors, first_id=len(annotations) + 1)
    categories = [{"id": index, "name": name} for index, name in enumerate(dataset.class_names) if index]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (output / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return len(images)


def _origin(image: LabeledImage) -> dict[str, str]:
    origin = {"group": image.tags[0]} if image.tags else {}
    return {**origin, "source": image.source} if image.source else origin


def _annotations(
    image: LabeledImage, number: int, factors: tuple[float, float], *, first_id: int
) -> list[dict[str, Any]]:
    rows = zip(image.boxes_xyxy, image.class_ids, image.crowd, image.scores, strict=True)
    found = []
    for index, (box, class_id, crowd, score) in enumerate(rows):
        left, top, right, bottom = (float(value) * factors[axis % 2] for axis, value in enumerate(box))
        found.append(
            {
                "id": first_id + index,
                "image_id": number,
                "category_id": int(class_id),
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": int(crowd),
                "score": float(score),
            }
        )
    return found


if __name__ == "__main__":
    app()
