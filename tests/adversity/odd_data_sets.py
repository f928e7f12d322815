"""Make odd data sets: images and label files as cameras, editors and other systems write them.

Every image is black with one white rectangle, which is its only object, so that pixels and labels can be compared.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
ORIENTATION = 0x0112
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class OddImage:
    """A file name, the upright size (height, width), and the rectangle in the upright image."""

    name: str
    size_hw: tuple[int, int]
    box: Box


def _gray(size_hw: tuple[int, int], box: Box) -> Pixels:
    pixels = np.zeros(size_hw, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return pixels


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """The pixels that a camera stores with this EXIF orientation, so that a viewer shows the upright image."""
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    return np.ascontiguousarray(turned)


def _exif(orientation: int) -> Callable[[Path, Pixels], None]:
    def write(path: Path, upright: Pixels) -> None:
        tags = Image.Exif()
        tags[ORIENTATION] = orientation
        Image.fromarray(_as_stored(upright, orientation)).convert("RGB").save(path, "JPEG", exif=tags, quality=95)

    return write


def _as_mode(mode: str, kind: str) -> Callable[[Path, Pixels], None]:
    def write(path: Path, upright: Pixels) -> None:
        Image.fromarray(upright).convert("RGB").convert(mode).save(path, kind, quality=95)

    return write


def _sixteen_bits(low: int, high: int) -> Callable[[Path, Pixels], None]:
    def write(path: Path, upright: Pixels) -> None:
        values = np.where(upright > 0, high, low).astype(np.uint16)
        path.write_bytes(cv2.imencode(".png", values)[1].tobytes())

    return write


def _alpha(path: Path, upright: Pixels) -> None:
    layers = [upright, upright, upright, np.full_like(upright, 255)]
    path.write_bytes(cv2.imencode(".png", np.dstack(layers))[1].tobytes())


WRITERS: dict[str, Callable[[Path, Pixels], None]] = {
    "cmyk.jpg": _as_mode("CMYK", "JPEG"),
    "gray.JPG": _as_mode("L", "JPEG"),
    "palette.png": _as_mode("P", "PNG"),
    "two levels.PNG": _as_mode("1", "PNG"),
    "alpha.png": _alpha,
    "full range, 16 bits.png": _sixteen_bits(0, 65535),
    "thermal, 16 bits.png": _sixteen_bits(7000, 7400),
    "web.WEBP": _as_mode("RGB", "WEBP"),
    "scan.Tif": _as_mode("RGB", "TIFF"),
    "photo.jfif": _as_mode("RGB", "JPEG"),
    **{f"orientation {number}.jpeg": _exif(number) for number in range(1, 9)},
    "caf\u00e9.bmp": _as_mode("RGB", "BMP"),
    "two.dots.in name.png": _as_mode("RGB", "PNG"),
}
"""How each file is written, by its name."""


def write_images(folder: Path) -> list[OddImage]:
    """Write every odd image; all differ in size and in the place of their rectangle."""
    folder.mkdir(parents=True)
    images = []
    for index, (name, write) in enumerate(WRITERS.items()):
        height, width = 64 + 2 * index, 96 + 3 * index
        box = (8 + index, 12, 40 + index, 50 + index % 7)
        write(folder / name, _gray((height, width), box))
        images.append(OddImage(name, (height, width), box))
    return images


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How an editor or another system writes text: its first bytes, its line ends, its separator in paths."""

    start: bytes = b""
    line_end: str = "\n"
    separator: str = "/"

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.start + text.replace("\n", self.line_end).encode())

    def path(self, *parts: str) -> str:
        return self.separator.join(parts)


STYLES = {"plain": TextStyle(), "windows": TextStyle(BOM, "\r\n", "\\"), "old mac": TextStyle(b"", "\r")}


def write_yolo(root: Path, style: TextStyle) -> list[OddImage]:
    """A folder as train, and a list of images as val."""
    images = write_images(root / "images" / "all")
    for image in images:
        (x1, y1, x2, y2), (h, w) = image.box, image.size_hw
        row = f"0\t{(x1 + x2) / 2 / w:.9f} {(y1 + y2) / 2 / h:.9f} {(x2 - x1) / w:.9f} {(y2 - y1) / h:.9f}\n\n"
        style.write(root / "labels" / "all" / f"{Path(image.name).stem}.txt", row)
    folder = style.path("images", "all")
    style.write(root / "list.txt", "".join(f"{style.path('.', folder, image.name)}\n" for image in images))
    (root / "data.yaml").write_text(f"train: {folder}\nval: list.txt\nnames: [person]\n")
    return images


def write_coco(root: Path, style: TextStyle) -> list[OddImage]:
    images = write_images(root / "pictures")
    content = {
        "categories": [{"id": 3, "name": "person"}],
        "images": [
            {"id": i, "file_name": style.path("pictures", one.name), "height": one.size_hw[0], "width": one.size_hw[1]}
            for i, one in enumerate(images)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for i, (x1, y1, x2, y2) in enumerate(one.box for one in images)
        ],
    }
    for split in ("train", "val"):
        style.write(root / f"{split}.json", json.dumps(content, indent=1, ensure_ascii=False))
    return images


def write_voc(root: Path, style: TextStyle) -> list[OddImage]:
    images = write_images(root / "JPEGImages")
    for image in images:
        (x1, y1, x2, y2), (h, w) = image.box, image.size_hw
        corners = f"<xmin>{x1 + 1}</xmin>\n<ymin>{y1 + 1}</ymin>\n<xmax>{x2}</xmax>\n<ymax>{y2}</ymax>"
        style.write(
            root / "Annotations" / f"{Path(image.name).stem}.XML",
            f"<annotation><filename>{style.path('C:', 'me', image.name)}</filename>\n"
            f"<size><width>{w}</width><height>{h}</height></size>\n"
            f"<object><name> person </name><bndbox>{corners}</bndbox></object></annotation>\n",
        )
    stems = "".join(f"{Path(image.name).stem}\n" for image in images)
    for split in ("train", "val"):
        style.write(root / "ImageSets" / "Main" / f"{split}.txt", stems)
    return images


SETS: dict[str, Callable[[Path, TextStyle], Sequence[OddImage]]] = {
    "YOLO": write_yolo,
    "COCO JSON": write_coco,
    "Pascal VOC": write_voc,
}
