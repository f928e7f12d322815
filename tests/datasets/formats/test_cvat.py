"""CVAT for images: boxes, polygons, ellipses, masks, rotation, subsets; faults are reported by image and shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.open import has_split, open_dataset, recognize
from support.drawn_images import Drawn, draw_image

Write = Callable[..., Path]
META = "<meta><task><labels><label><name>person</name></label><label><name>dog</name></label></labels></task></meta>"
BOX = '<box label="person" occluded="0" xtl="4.0" ytl="5.0" xbr="14.0" ybr="17.0" z_order="0"{}></box>'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """annotations.xml with these shapes in the first of two images, and the images of 40x30 px in images/."""

    def write_file(shapes: str = BOX.format(""), *, first: str = "", second: str = "", meta: str = META) -> Path:
        for name in ("a", "b"):
            draw_image(tmp_path / "images" / f"{name}.png", Drawn(name, (30, 40), []))
        images = "".join(
            f'<image id="{index}" name="{name}.png" width="40" height="30" {extra}>{inside}</image>'
            for index, (name, extra, inside) in enumerate((("a", first, shapes), ("b", second, "")))
        )
        text = (
            f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{images}</annotations>'
        )
        (tmp_path / "annotations.xml").write_text(text)
        return tmp_path

    return write_file


def test_shapes_become_the_boxes_around_them(write: Write) -> None:
    folder = write(
        BOX.format("")
        + '<polygon label="dog" points="3.5,4.0;10.0,2.0;8.0,20.5"></polygon>'
        + '<ellipse label="dog" cx="20" cy="15" rx="5" ry="4"></ellipse>'
        + '<mask label="dog" rle="1, 2" left="6" top="7" width="3" height="4"></mask>'
        + '<tag label="outdoor"></tag>'
    )
    dataset = open_dataset(folder, "train")
    assert recognize(folder).name == recognize(folder / "annotations.xml").name == "CVAT"
    assert dataset.class_names == ("background", "person", "dog"), "in the order of the task"
    image, empty = dataset.images
    assert image.path == folder / "images" / "a.png"
    expected = np.array([(4, 5, 14, 17), (3.5, 2, 10, 20.5), (15, 11, 25, 19), (6, 7, 9, 11)], np.float32)
    np.testing.assert_array_equal(image.boxes_xyxy, expected)
    assert image.class_ids.tolist() == [1, 2, 2, 2]
    assert len(empty.boxes_xyxy) == 0
    assert not has_split(folder, "val")


def test_a_rotated_box_becomes_the_upright_box_around_it(write: Write) -> None:
    dataset = open_dataset(write(BOX.format(' rotation="90.0"')), "train")
    np.testing.assert_allclose(dataset.images[0].boxes_xyxy, [[3, 6, 15, 16]], atol=1e-5)
    assert "1 box is rotated" in dataset.notes[0]


def test_subsets_are_splits(write: Write) -> None:
    folder = write(first='subset="Train"', second='subset="valid"')
    assert [image.path.name for image in open_dataset(folder, "train").images] == ["a.png"]
    assert [image.path.name for image in open_dataset(folder, "val").images] == ["b.png"]
    assert len(open_dataset(write(first='subset="train"'), "train").images) == 2


@pytest.mark.parametrize(
    ("shapes", "fault"),
    [
        (BOX.format("").replace("14.0", "x"), r"a\.png: box 0 \(person\): xbr is 'x'; expected a number"),
        (BOX.format("").replace("14.0", "52.0"), "extends beyond its 40x30 px image by 12 px"),
        (BOX.format("").replace("14.0", "3.0"), "no area"),
        ('<polyline label="dog" points="1,2;3,4"></polyline>', r"polyline 0 \(dog\): is a polyline; expected a box"),
        ('<polygon label="dog" points="1,2;3"></polygon>', "points are '1,2;3'; expected x,y"),
        ('<box xtl="1" ytl="1" xbr="3" ybr="3"></box>', "has no label"),
    ],
)
def test_a_bad_shape_is_named_by_image_and_number(write: Write, shapes: str, fault: str) -> None:
    folder = write(shapes)
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'annotations.xml'}: a.png: ")
    faults = Faults(collect=True)
    assert len(open_dataset(folder, "train", faults).images) == 2
    assert faults.found == [str(caught.value)]


def test_cvat_for_video_and_damaged_files_are_named(write: Write) -> None:
    path = write() / "annotations.xml"
    path.write_text(f"<annotations>{META}<track id='0' label='person'></track></annotations>")
    with pytest.raises(DatasetError, match="is CVAT for video, with tracks; export it as CVAT for images"):
        open_dataset(path, "train")
    path.write_text("<annotations><image></annotations>")
    with pytest.raises(DatasetError, match="is not readable XML"):
        open_dataset(path, "train")


def test_an_image_that_is_gone_is_named(write: Write) -> None:
    folder = write()
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"b\.png is not in .*/images"):
        open_dataset(folder, "train")
