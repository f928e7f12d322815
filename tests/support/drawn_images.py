"""The same labeled images, written in every format."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image to write: people's boxes as half-open xyxy in whole px."""

    name: str
    size_hw: tuple[int, int]
    boxes: Sequence[Box]


Writer = Callable[[Path, Sequence[Drawn]], Path]


def draw_image(path: Path, drawn: Drawn) -> None:
    """A gray image that differs for every name, so that no two files are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = np.full((*drawn.size_hw, 3), 90, np.uint8)
    frame[0, 0] = list(drawn.name.encode(errors="replace")[-3:].rjust(3))
    write_pixels(path, frame)


def write_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image; its name may be no UTF-8, with which cv2.imwrite crashes."""
    encoded, content = cv2.imencode(path.suffix, pixels)
    assert encoded
    path.write_bytes(content.tobytes())


def write_coco(folder: Path, drawings: Sequence[Drawn]) -> Path:
    images, annotations = [], []
    for number, drawn in enumerate(drawings):
        draw_image(folder / "images" / f"{drawn.name}.png", drawn)
        height, width = drawn.size_hw
        images.append({"id": number, "file_name": f"{drawn.name}.png", "width": width, "height": height})
        for x1, y1, x2, y2 in drawn.boxes:
            annotations.append({"image_id": number, "category_id": 5, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    content = {"categories": [{"id": 5, "name": "person"}], "images": images, "annotations": annotations}
    (folder / "train.json").write_text(json.dumps(content))
    return folder


def write_yolo(folder: Path, drawings: Sequence[Drawn]) -> Path:
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    for drawn in drawings:
        draw_image(folder / "images" / "train" / f"{drawn.name}.png", drawn)
        h, w = drawn.size_hw
        rows = [
            f"0 {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} {(y2 - y1) / h}\n"
            for x1, y1, x2, y2 in drawn.boxes
        ]
        (labels / f"{drawn.name}.txt").write_text("".join(rows))
    (folder / "data.yaml").write_text("train: images/train\nnames: [person]\n")
    return folder


def voc_xml(drawn: Drawn, *, name: str = "person", difficult: str = "") -> str:
    """VOC XML: corners are 1-based and inclusive."""
    height, width = drawn.size_hw
    objects = [
        f"<object><name>{name}</name>{difficult}<bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2 in drawn.boxes
    ]
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>elsewhere.jpg</filename>{size}{''.join(objects)}</annotation>"


def write_voc(folder: Path, drawings: Sequence[Drawn]) -> Path:
    (folder / "Annotations").mkdir(parents=True)
    for drawn in drawings:
        draw_image(folder / "JPEGImages" / f"{drawn.name}.png", drawn)
        (folder / "Annotations" / f"{drawn.name}.xml").write_text(voc_xml(drawn))
    return folder


def write_voc_beside(folder: Path, drawings: Sequence[Drawn]) -> Path:
    for drawn in drawings:
        draw_image(folder / f"{drawn.name}.png", drawn)
        (folder / f"{drawn.name}.xml").write_text(voc_xml(drawn))
    return folder


def write_gt_data(folder: Path, drawings: Sequence[Drawn]) -> Path:
    for drawn in drawings:
        draw_image(folder / f"{drawn.name}.png", drawn)
        lines = [" ".join(map(str, box)) + "\n" for box in drawn.boxes]
        (folder / f"{drawn.name}.gt_data.txt").write_text("".join(lines))
    return folder


def diamond(box: Box) -> tuple[list[float], list[float]]:
    """The corners of a polygon that touches each side of its box in the middle."""
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2, x2, (x1 + x2) / 2, x1], [y1, (y1 + y2) / 2, y2, (y1 + y2) / 2]


def write_via(folder: Path, drawings: Sequence[Drawn]) -> Path:
    files = {}
    for drawn in drawings:
        draw_image(folder / f"{drawn.name}.png", drawn)
        regions = {}
        for index, box in enumerate(drawn.boxes):
            xs, ys = diamond(box)
            shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
            regions[str(index)] = {"shape_attributes": shape, "region_attributes": {"class": "person"}}
        files[f"{drawn.name}.png99"] = {"filename": f"{drawn.name}.png", "size": 99, "regions": regions}
    (folder / "via_region_data.json").write_text(json.dumps(files))
    return folder


def write_pennfudan(folder: Path, drawings: Sequence[Drawn]) -> Path:
    (folder / "PedMasks").mkdir(parents=True)
    for drawn in drawings:
        draw_image(folder / "PNGImages" / f"{drawn.name}.png", drawn)
        mask = np.zeros(drawn.size_hw, np.uint8)
        for value, (x1, y1, x2, y2) in enumerate(drawn.boxes, start=1):
            # An L inside the box: its tight box is the box, but its area is smaller.
            mask[y1:y2, x1] = value
            mask[y2 - 1, x1:x2] = value
        write_pixels(folder / "PedMasks" / f"{drawn.name}_mask.png", mask)
    return folder


WRITERS: dict[str, Writer] = {
    "COCO JSON": write_coco,
    "YOLO": write_yolo,
    "Pascal VOC": write_voc,
    "Pascal VOC beside": write_voc_beside,
    "gt_data": write_gt_data,
    "VIA": write_via,
    "Penn-Fudan": write_pennfudan,
}
