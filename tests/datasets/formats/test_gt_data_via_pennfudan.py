"""The exercise's format, VIA and Penn-Fudan; every fault is reported with its file and line or entry."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.open import open_dataset
from support.drawn_images import Drawn, draw_image

Write = Callable[..., Path]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder with a.png of 40x30 px."""
    draw_image(tmp_path / "a.png", Drawn("a", (30, 40), []))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1 2 3", "expected four numbers"),
        ("1 2 3 4 5", "expected four numbers"),
        ("1,2,3,4", "expected four numbers"),
        ("1 2 one 4", "expected four numbers"),
        ("5 5 5 9", "no area"),
        ("9 5 5 9", "no area"),
        ("0 0 nan 9", "not finite"),
        ("0 0 40 32", "extends beyond its 40x30 px image by 2 px"),
    ],
)
def test_a_bad_line_of_gt_data_is_named_by_file_and_line(image: Path, line: str, fault: str) -> None:
    path = image / "a.gt_data.txt"
    path.write_text(f"1 2 3.5 4\n{line}\n0 0 40.5 30\n")
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(image, "train")
    assert str(caught.value).startswith(f"{path}:2: ")
    faults = Faults(collect=True)
    assert open_dataset(image, "train", faults).images[0].boxes_xyxy.tolist() == [[1, 2, 3.5, 4], [0, 0, 40, 30]]
    assert faults.found == [str(caught.value)]


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


TRIANGLE = {"name": "polygon", "all_points_x": [5, 20, 12.5], "all_points_y": [3, 3, 29]}
RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


@pytest.fixture
def write_via(image: Path) -> Write:
    """via_region_data.json with these regions (a list as in version 2, or an object) for a.png."""

    def write(regions: Any, *, project: bool = False) -> Path:
        content: Any = {"a.png77": {"filename": "a.png", "size": 77, "regions": regions, "file_attributes": {}}}
        content = {"_via_settings": {}, "_via_img_metadata": content} if project else content
        (image / "via_region_data.json").write_text(json.dumps(content))
        return image

    return write


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_regions_of_both_versions_become_tight_boxes(write_via: Write, version: int, project: bool) -> None:
    regions: Any = [region(TRIANGLE), region(RECT)]
    regions = {"0": regions[0], "1": regions[1]} if version == 1 else regions
    dataset = open_dataset(write_via(regions, project=project), "train")
    assert dataset.class_names == ("background", "object"), "without attributes the class has no name of its own"
    assert dataset.images[0].boxes_xyxy.tolist() == [[5, 3, 20, 29], [1, 2, 4, 6]]
    assert open_dataset(dataset.path / "via_region_data.json", "val").num_boxes == 2


def test_the_class_of_a_region_is_its_only_attribute_or_the_one_called_so(write_via: Write) -> None:
    dataset = open_dataset(write_via([region(TRIANGLE, kind="red"), region(RECT, Name="blue", color=3)]), "train")
    assert dataset.class_names == ("background", "blue", "red")
    assert dataset.images[0].class_ids.tolist() == [2, 1]


def test_circles_ellipses_and_checkboxes_are_read(write_via: Write) -> None:
    circle = region({"name": "circle", "cx": 10, "cy": 12, "r": 3.5}, kind="red")
    ellipse = region({"name": "ellipse", "cx": 20, "cy": 15, "rx": 8, "ry": 4, "theta": math.pi / 2}, kind="red")
    ticked = region(RECT, kind={"blue": True, "red": False})
    image = open_dataset(write_via([circle, ellipse, ticked]), "train").images[0]
    expected = np.array([(6.5, 8.5, 13.5, 15.5), (16, 7, 24, 23)])
    np.testing.assert_allclose(image.boxes_xyxy[:2], expected, atol=1e-5)
    assert image.class_ids.tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (region({**TRIANGLE, "all_points_y": [3, 3]}, kind="red"), "has 3 x and 2 y"),
        (region({"name": "polygon"}, kind="red"), "has 0 x and 0 y"),
        (region({**TRIANGLE, "all_points_y": [3, 3, 3]}, kind="red"), "no area"),
        (region({**TRIANGLE, "all_points_y": [3, 3, 42]}, kind="red"), "extends beyond its 40x30 px image by 12 px"),
        (region({**TRIANGLE, "all_points_y": [3, 3, float("nan")]}, kind="red"), "not finite"),
        (region({"name": "point", "cx": 5, "cy": 5}, kind="red"), "is a point; expected a polygon"),
        (region({**RECT, "width": 0}, kind="red"), "no area"),
        (region({**RECT, "width": "3"}, kind="red"), r"\$\.shape_attributes\.width"),
        (region(RECT), "has the attributes {}"),
        (region(RECT, kind=""), "expected its class as text"),
        (region(RECT, kind="red", size="big"), "expected its class as text"),
        (region(RECT, label="red", name="big"), "expected its class as text"),
        (region(RECT, label=7), "expected its class as text"),
        (region(RECT, kind={"red": True, "blue": True}), "expected its class as text"),
        (region(RECT, kind={"red": False}), "expected its class as text"),
        ({"region_attributes": {}}, "`shape_attributes`"),
        (7, "Expected `object`"),
    ],
)
def test_a_bad_region_is_named_by_file_and_entry(write_via: Write, bad: Any, fault: str) -> None:
    folder = write_via([region(TRIANGLE, kind="red"), bad])
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'via_region_data.json'}: a.png77: regions[1]: ")
    faults = Faults(collect=True)
    assert open_dataset(folder, "train", faults).num_boxes == 1
    assert faults.found == [str(caught.value)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object with images"),
        ("{}", "no images"),
        ('{"a": 3}', "a: Expected `object`"),
        ('{"a": {"filename": "a.png"}}', "a: .*`regions`"),
        ('{"a": {"filename": "b.png", "regions": []}}', r"a: image b\.png is not in"),
    ],
)
def test_a_bad_via_file_is_named(image: Path, content: str, fault: str) -> None:
    (image / "via_region_data.json").write_text(content)
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(image / "via_region_data.json", "train")
    assert str(image / "via_region_data.json") in str(caught.value)


def test_two_via_files_in_a_folder_are_both_named(write_via: Write) -> None:
    folder = write_via([region(RECT)])
    (folder / "via_project.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"both via_project\.json and via_region_data\.json"):
        open_dataset(folder, "train")


@pytest.fixture
def write_mask(tmp_path: Path) -> Write:
    """PNGImages/a.png of 40x30 px with this mask."""

    def write(mask: Any) -> Path:
        draw_image(tmp_path / "PNGImages" / "a.png", Drawn("a", (30, 40), []))
        (tmp_path / "PedMasks").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "PedMasks" / "a_mask.png"), mask)
        return tmp_path

    return write


def test_each_value_or_color_of_a_mask_is_a_person(write_mask: Write) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:9, 3], mask[5, 4:7], mask[29, 39] = 2, 2, 1
    dataset = open_dataset(write_mask(mask), "train")
    expected = [[39, 29, 40, 30], [3, 2, 7, 9]]
    assert dataset.images[0].boxes_xyxy.tolist() == expected
    assert dataset.class_names == ("background", "person")
    colors = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)
    assert open_dataset(write_mask(colors[mask]), "train").images[0].boxes_xyxy.tolist() == expected


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (np.zeros((30, 41), np.uint8), "is 41x30 px, but its image is 40x30"),
        (np.full((30, 40), 3, np.uint16), "uint16"),
        (np.full((30, 40, 4), 3, np.uint8), r"\(30, 40, 4\)"),
    ],
)
def test_a_bad_mask_is_named(write_mask: Write, mask: Any, fault: str) -> None:
    folder = write_mask(mask)
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'PedMasks' / 'a_mask.png'}: ")


def test_a_damaged_mask_is_named(write_mask: Write) -> None:
    folder = write_mask(np.ones((30, 40), np.uint8))
    path = folder / "PedMasks" / "a_mask.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"a_mask\.png: the image is cut short"):
        open_dataset(folder, "train")
