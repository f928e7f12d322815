"""Every format gives the same boxes, and is distinguished from the other formats."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.open import FORMATS, has_split, open_dataset, recognize
from support.drawn_images import WRITERS, Drawn

NAMES = ["COCO JSON", "YOLO", "Pascal VOC", "Pascal VOC beside", "gt_data", "VIA", "Penn-Fudan"]
CELL = 12


@st.composite
def boxes_in_cells(draw: Any) -> tuple[tuple[int, int], list[tuple[int, int, int, int]]]:
    """An image size and boxes of whole px that do not overlap, as masks cannot hold overlapping boxes."""
    rows, cols = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    spare_h, spare_w = draw(st.integers(0, CELL - 1)), draw(st.integers(0, CELL - 1))
    boxes = []
    for row in range(rows):
        for col in range(cols):
            if draw(st.booleans()):
                x1, x2 = sorted(draw(st.lists(st.integers(0, CELL), min_size=2, max_size=2, unique=True)))
                y1, y2 = sorted(draw(st.lists(st.integers(0, CELL), min_size=2, max_size=2, unique=True)))
                boxes.append((col * CELL + x1, row * CELL + y1, col * CELL + x2, row * CELL + y2))
    return (rows * CELL + spare_h, cols * CELL + spare_w), boxes


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenes=st.lists(boxes_in_cells(), min_size=1, max_size=3))
def test_the_boxes_that_were_written_are_read(name: str, scenes: list[Any]) -> None:
    images = [Drawn(f"p{i}", size_hw, boxes) for i, (size_hw, boxes) in enumerate(scenes)]
    if not any(image.boxes for image in images) and name.startswith(("VIA", "Pascal")):
        return  # these formats list classes only with their objects, so without objects there are no classes
    folder = Path(tempfile.mkdtemp())
    try:
        dataset = open_dataset(WRITERS[name](folder / "data", images), "train")
        assert dataset.class_names == ("background", "person")
        assert [image.path.stem for image in dataset.images] == [image.name for image in images]
        for found, written in zip(dataset.images, images, strict=True):
            assert found.image_hw == written.size_hw == found.read().shape[:2]
            expected = np.array(written.boxes, np.float32).reshape(-1, 4)
            # Fractions of the image are rounded; all other formats store the exact numbers.
            np.testing.assert_allclose(found.boxes_xyxy, expected, rtol=0, atol=1e-5 if name == "YOLO" else 0)
            assert found.boxes_xyxy.dtype == np.float32
            assert found.class_ids.tolist() == [1] * len(written.boxes)
            assert found.scores.tolist() == [1.0] * len(written.boxes)
            assert found.scores.dtype == np.float32
            assert not found.crowd.any()
            areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in written.boxes]
            np.testing.assert_allclose(found.areas_px2, np.array(areas, np.float32), rtol=1e-5)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", NAMES)
def test_each_format_is_recognized_and_has_no_validation_of_its_own(
    name: str, some_images: list[Any], tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path / "data", some_images)
    assert recognize(path).name == name.removesuffix(" beside")
    assert has_split(path, "train")
    assert not has_split(path, "val")
    with pytest.raises(DatasetError, match=r"has no split val; this .* data has") as caught:
        open_dataset(path, "val")
    assert str(caught.value).startswith(f"{path}: ")
    whole = name not in ("COCO JSON", "YOLO")
    assert ("no splits, so all of it is train" in str(caught.value)) == whole
    if whole:
        assert len(open_dataset(path, "val", undivided=True).images) == len(open_dataset(path, "train").images)
    else:
        with pytest.raises(DatasetError, match="has no split val"):
            open_dataset(path, "val", undivided=True)


@pytest.mark.parametrize("name", ["Pascal VOC beside", "gt_data", "VIA"])
@pytest.mark.parametrize("val", ["val", "valid"])
def test_folders_may_be_splits(name: str, val: str, some_images: list[Any], tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "train", some_images)
    WRITERS[name](tmp_path / val, some_images[:1])
    assert has_split(tmp_path, "train")
    assert has_split(tmp_path, "val")
    assert not has_split(tmp_path, "test")
    assert len(open_dataset(tmp_path, "train").images) == 3
    assert open_dataset(tmp_path, "val").images[0].path == tmp_path / val / "a1.png"
    assert open_dataset(tmp_path, "val").name == f"{tmp_path.name}/val"
    with pytest.raises(DatasetError, match=r"has no split test; .* has train, val"):
        open_dataset(tmp_path, "test")
    assert len(open_dataset(tmp_path / val, "val").images) == 1, "a split's folder given by itself is that split"
    assert not has_split(tmp_path / val, "val"), "but nothing is set apart in it"


def test_val_and_valid_together_are_refused(some_images: list[Any], tmp_path: Path) -> None:
    WRITERS["gt_data"](tmp_path / "val", some_images)
    WRITERS["gt_data"](tmp_path / "valid", some_images)
    with pytest.raises(DatasetError, match="both val/ and valid/"):
        open_dataset(tmp_path, "val")


@pytest.mark.parametrize("other", ["YOLO", "Pascal VOC", "gt_data", "VIA", "Penn-Fudan"])
def test_two_formats_in_one_folder_are_both_named(other: str, some_images: list[Any], tmp_path: Path) -> None:
    WRITERS["COCO JSON"](tmp_path, some_images)
    WRITERS[other](tmp_path, some_images)
    with pytest.raises(
        DatasetError, match=rf"COCO JSON \(train\.json\) and {other} \(.*give the path of one file"
    ) as caught:
        open_dataset(tmp_path, "train")
    assert "\n" not in str(caught.value)
    assert open_dataset(tmp_path / "train.json", "train").num_boxes == 3, "the file itself is one format"


def test_what_is_no_dataset_is_reported_with_the_known_formats(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    for path, found in (
        (tmp_path, "contains holiday.jpg"),
        (tmp_path / "holiday.jpg", "has no known format"),
        (tmp_path / "gone", "no such file or folder"),
        (tmp_path / ("a" * 300), "no such file or folder"),
    ):
        with pytest.raises(DatasetError, match=found) as caught:
            open_dataset(path, "train")
        assert str(caught.value).startswith(f"{path}: ")
        assert all(one.name in str(caught.value) and one.layout in str(caught.value) for one in FORMATS)
    (tmp_path / "holiday.jpg").unlink()
    with pytest.raises(DatasetError, match="is empty"):
        has_split(tmp_path, "val")


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_depends_on_every_label_and_on_nothing_else(name: str, some_images: list[Any], tmp_path: Path) -> None:
    first = open_dataset(WRITERS[name](tmp_path / "1", some_images), "train").sha256
    assert len(first) == 64
    assert open_dataset(WRITERS[name](tmp_path / "2", some_images), "train").sha256 == first
    changed = [Drawn("a1", (30, 40), [(4, 5, 14, 17), (20, 0, 40, 29)]), *some_images[1:]]
    assert open_dataset(WRITERS[name](tmp_path / "3", changed), "train").sha256 != first
    fewer = [some_images[0], some_images[2]]
    assert open_dataset(WRITERS[name](tmp_path / "4", fewer), "train").sha256 != first, "background counts too"


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_image_is_named(name: str, some_images: list[Any], tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path, some_images)
    (image,) = tmp_path.rglob("a1.png")
    image.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a1\.png: is not an image"):
        open_dataset(path, "train").images[0].read()


@pytest.mark.parametrize("name", ["Pascal VOC", "Pascal VOC beside", "gt_data", "Penn-Fudan"])
def test_images_and_labels_without_each_other_are_named(name: str, some_images: list[Any], tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path, some_images)
    (image,) = tmp_path.rglob("b2.png")
    cv2.imwrite(str(image.with_name("d4.png")), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"d4\.png: has no label file"):
        open_dataset(path, "train")
    image.with_name("d4.png").unlink()
    shutil.copy(image, image.with_name("b2.jpeg"))
    with pytest.raises(DatasetError, match=r"b2\.png: shares its label file with b2\.jpeg"):
        open_dataset(path, "train")
    image.with_name("b2.jpeg").unlink()
    image.unlink()
    with pytest.raises(DatasetError, match=r"b2[^/]*: has no image with its name"):
        open_dataset(path, "train")


def test_a_via_file_is_distinguished_from_coco_by_its_name(tmp_path: Path) -> None:
    for name, expected in (("via_project.json", "VIA"), ("labels.json", "COCO JSON")):
        (tmp_path / name).write_text(json.dumps({}))
        assert recognize(tmp_path / name).name == expected
