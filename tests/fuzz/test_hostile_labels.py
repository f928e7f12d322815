"""Labels that somebody wrote to break a reader: endless files, deep nesting, numbers without measure."""

import os
from pathlib import Path

import cv2
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset
from support.frames import make_noise

DIGITS = "9" * 5000
DEEP = "[" * 100_000 + "]" * 100_000
COCO = (
    '{"images":[{"id":1,"file_name":"a.png","width":64,"height":48}],"annotations":[{"id":1,"image_id":IMAGE,'
    '"category_id":1,"bbox":[1,1,WIDTH,5],"area":25,"iscrowd":0}],"categories":[{"id":1,"name":"person"}],"info":INFO}'
)
VIA = (
    '{"a.png1":{"filename":"a.png","size":1,"regions":[{"shape_attributes":{"name":"rect","x":1,"y":1,"width":WIDTH,'
    '"height":5},"region_attributes":INFO}]}}'
)
VOC = (
    "<annotation><filename>a.png</filename><size><width>SIDE</width><height>48</height><depth>3</depth></size><object>"
    "<name>person</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>WIDTH</xmax><ymax>9</ymax></bndbox></object>"
    "</annotation>"
)


def filled(template: str, **values: str) -> str:
    """The template with its words in capitals replaced; those not given become harmless."""
    for word, harmless in {"IMAGE": "1", "WIDTH": "5", "INFO": "{}", "SIDE": "64"}.items():
        template = template.replace(word, values.get(word.lower(), harmless))
    return template


def labeled(folder: Path, layout: str, text: str) -> Path:
    """A dataset of one image with these labels."""
    places = {
        "coco": ("a.png", "train.json"),
        "via": ("a.png", "via_region_data.json"),
        "voc": ("JPEGImages/a.png", "Annotations/a.xml"),
        "yolo.yaml": ("images/a.png", "data.yaml"),
        "yolo.txt": ("images/a.png", "labels/a.txt"),
    }
    image, labels = (folder / name for name in places[layout])
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), make_noise(seed=0, size_hw=(48, 64)))
    if layout == "yolo.txt":
        (folder / "data.yaml").write_text("train: images\nval: images\nnames: [person]\n")
    labels.write_text(text)
    return labels if layout == "coco" else folder


@pytest.mark.parametrize(
    ("layout", "text", "message"),
    [
        ("coco", filled(COCO, image=DIGITS), "is not JSON"),
        ("coco", filled(COCO, width=DIGITS), "is not JSON"),
        ("coco", filled(COCO, width="1e300"), "extends beyond"),
        ("coco", filled(COCO, width="1e999"), "is not finite"),
        ("coco", filled(COCO, width=DEEP), "is not JSON"),
        ("coco", filled(COCO, info=DEEP), "is not JSON"),
        ("via", filled(VIA, width=DIGITS), "is not JSON"),
        ("via", filled(VIA, width="1e300"), "extends beyond"),
        ("via", filled(VIA, info=DEEP), "is not JSON"),
        ("voc", filled(VOC, side="1e300"), "size states"),
        ("voc", filled(VOC, side="nan"), "size states"),
        ("voc", filled(VOC, width="1e300"), "extends beyond"),
        ("voc", filled(VOC, width=DIGITS), "is not finite"),
        ("yolo.yaml", f"train: images\nval: images\nnames: [person]\nmore: {DEEP[50_000:150_000]}\n", "is not YOLO's"),
        ("yolo.txt", f"0 0.5 0.5 {DIGITS} 0.2\n", "is not finite"),
        ("yolo.txt", f"{DIGITS} 0.5 0.5 0.2 0.2\n", "class 99"),
        ("yolo.txt", "0 0.5 0.5 1e300 0.2\n", "extends beyond"),
        ("yolo.txt", "0 0.5 0.5 nan 0.2\n", "is not finite"),
    ],
)
def test_labels_without_measure_are_one_line(tmp_path: Path, layout: str, text: str, message: str) -> None:
    path = labeled(tmp_path, layout, text)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset([path], "train")
    assert "\n" not in str(caught.value)


def test_harmless_labels_of_these_templates_are_read(tmp_path: Path) -> None:
    for layout, text in (("coco", filled(COCO)), ("via", filled(VIA)), ("voc", filled(VOC))):
        path = labeled(tmp_path / layout, layout, text)
        assert load_dataset([path], "train").num_boxes == 1


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_an_image_without_an_end_is_one_line(tmp_path: Path, kind: str) -> None:
    path = labeled(tmp_path, "yolo.txt", "0 0.5 0.5 0.2 0.2\n")
    image = tmp_path / "images" / "a.png"
    image.unlink()
    if kind == "device":
        image.symlink_to("/dev/zero")
    else:
        os.mkfifo(image)
    with pytest.raises(DatasetError, match="a device, a pipe or a socket"):
        load_dataset([path], "train")
