"""A COCO file is read correctly, and every fault is reported with its file and entry."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.formats._coco_files import WHOLE
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.open import open_dataset, recognize

CATEGORIES = [{"id": 90, "name": "person"}, {"id": 3, "name": "dog"}]
IMAGE = {"id": 11, "file_name": "a.png", "width": 40, "height": 30}
PERSON = {"id": 1, "image_id": 11, "category_id": 90, "bbox": [4, 5, 10, 12]}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write labels.json with these top-level keys replaced (None: left out), beside images/a.png of 40x30 px."""

    def write_file(**changes: Any) -> Path:
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((30, 40, 3), 90, np.uint8))
        content = {"categories": CATEGORIES, "images": [IMAGE], "annotations": [PERSON], **changes}
        path = tmp_path / "labels.json"
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return path

    return write_file


def test_boxes_class_ids_areas_crowd_and_tags_are_read(write: Write) -> None:
    crowd = {**PERSON, "category_id": 3, "bbox": [0.5, 1.25, 20, 8], "area": 99.5, "iscrowd": 1}
    dataset = read_coco(write(images=[{**IMAGE, "group": "street", "source": "cam 2"}], annotations=[PERSON, crowd]))
    image = dataset.images[0]
    assert dataset.class_names == ("background", "person", "dog")
    assert dataset.num_boxes == 2
    np.testing.assert_array_equal(image.boxes_xyxy, np.array([[4, 5, 14, 17], [0.5, 1.25, 20.5, 9.25]], np.float32))
    assert image.boxes_xyxy.dtype == np.float32
    assert image.class_ids.tolist() == [1, 2]
    assert image.areas_px2.tolist() == [120.0, 99.5], "the stated area where there is one, else width x height"
    assert image.crowd.tolist() == [False, True]
    assert image.scores.tolist() == [1.0, 1.0]
    assert image.tags == ("street", "cam 2")
    assert image.image_hw == (30, 40)
    np.testing.assert_array_equal(image.read(), np.full((30, 40, 3), 90, np.uint8))


def test_every_image_gets_its_own_boxes(dataset_folder: Path) -> None:
    path = dataset_folder / "train.json"
    content = json.loads(path.read_text())
    dataset = read_coco(path)
    assert len(dataset.images) == len(content["images"]) == 16
    for image, entry in zip(dataset.images, content["images"], strict=True):
        expected = [a["bbox"] for a in content["annotations"] if a["image_id"] == entry["id"]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in expected]
        np.testing.assert_array_equal(image.boxes_xyxy, np.array(corners, np.float32).reshape(-1, 4))
        assert image.path == dataset_folder / "images" / entry["file_name"]
        assert image.tags == (entry["group"], entry["source"])
        assert image.source == entry["source"]
    assert {len(image.boxes_xyxy) for image in dataset.images} >= {0, 1}, "some images must have no person"
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert dataset.name == f"{dataset_folder.name}/train.json"


def test_images_may_lie_beside_the_file(write: Write, tmp_path: Path) -> None:
    path = write()
    (tmp_path / "images" / "a.png").rename(tmp_path / "a.png")
    (tmp_path / "images").rmdir()
    assert read_coco(path).images[0].path == tmp_path / "a.png"


def test_a_file_without_annotations_has_images_without_boxes(write: Write) -> None:
    assert read_coco(write(annotations=None)).num_boxes == 0
    assert read_coco(write(annotations=[])).images[0].boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [([-1, -0.5, 10, 10], [0, 0, 9, 9.5]), ([31, 19, 10, 12], [31, 19, 40, 30]), ([0, 0, 40, 30], [0, 0, 40, 30])],
)
def test_boxes_are_clipped_where_they_stick_out_by_up_to_a_pixel(
    write: Write, bbox: list[float], expected: list[float]
) -> None:
    image = read_coco(write(annotations=[{**PERSON, "bbox": bbox}])).images[0]
    assert image.boxes_xyxy.tolist() == [expected]


@pytest.mark.parametrize(
    ("bbox", "fault"),
    [
        ([-1.5, 0, 10, 10], "extends beyond its 40x30 px image"),
        ([0, -1.5, 10, 10], "extends beyond"),
        ([31, 0, 10.5, 10], "extends beyond"),
        ([0, 20, 10, 11.5], "extends beyond"),
        ([1e308, 0, 1e308, 10], "extends beyond"),
        ([-0.9, 0, 0.5, 10], "no area inside its image"),
        ([4, 5, 0, 12], "no area"),
        ([4, 5, 10, -12], "no area"),
        ([math.nan, 5, 10, 12], "not finite"),
        ([4, 5, math.inf, 12], "not finite"),
        ([4, 5, 10], "3 numbers"),
        ([4, 5, 10, 12, 1], "5 numbers"),
        ("4 5 10 12", "bbox"),
        ([4, 5, "10", 12], "bbox"),
    ],
)
def test_a_bad_box_is_named_by_file_and_entry(write: Write, bbox: object, fault: str) -> None:
    path = write(annotations=[PERSON, {**PERSON, "bbox": bbox}])
    with pytest.raises(DatasetError, match=fault) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)
    assert "annotations[1]" in str(caught.value)


@pytest.mark.parametrize("x", [30.0, 39.0])
def test_a_box_whose_side_vanishes_in_float32_is_named_by_file_and_entry(write: Write, x: float) -> None:
    """Training takes logarithms of the sides as float32."""
    with pytest.raises(DatasetError, match=r"labels\.json: annotations\[0\]"):
        read_coco(write(annotations=[{**PERSON, "bbox": [x, 5, 1e-7, 12]}]))


@pytest.mark.parametrize("area", [math.nan, math.inf, -4.0])
def test_an_impossible_area_is_named_by_file_and_entry(write: Write, area: float) -> None:
    with pytest.raises(DatasetError, match=r"labels\.json: annotations\[0\]"):
        read_coco(write(annotations=[{**PERSON, "area": area}]))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"annotations": [PERSON, {**PERSON, "image_id": 12}]}, r"annotations\[1\]: image_id 12"),
        ({"annotations": [PERSON, {**PERSON, "category_id": 1}]}, r"annotations\[1\]: category_id 1"),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.png"}]}, r"images\[1\]: id 11 occurs twice"),
        ({"categories": [*CATEGORIES, {"id": 3, "name": "cat"}]}, r"categories\[2\]: id 3 occurs twice"),
        ({"images": [IMAGE, {**IMAGE, "id": 12, "file_name": "gone.png"}]}, r"gone\.png .*id 12"),
        ({"images": [{**IMAGE, "width": 0}], "annotations": []}, "id 11 states 0x30"),
        ({"images": [{**IMAGE, "height": 10**30}], "annotations": []}, "id 11 states 40x1000000"),
        ({"images": [], "annotations": []}, "no images"),
        ({"categories": [], "annotations": []}, "no images or no categories"),
        ({"images": None}, "`images`"),
        ({"categories": None}, "`categories`"),
        ({"images": {"11": IMAGE}}, r"\$\.images"),
        ({"images": [{"id": 11, "width": 40, "height": 30}]}, r"images\[0\]: .*`file_name`"),
        ({"images": [{**IMAGE, "height": "30"}]}, r"images\[0\]: .*\$\.height"),
        ({"categories": [{"id": "person"}]}, r"categories\[0\]: .*"),
        ({"annotations": [PERSON, {"image_id": 11, "category_id": 90}]}, r"annotations\[1\]: .*`bbox`"),
        ({"annotations": [{**PERSON, "iscrowd": "no"}]}, r"annotations\[0\]: .*\$\.iscrowd"),
    ],
)
def test_a_bad_entry_is_named_by_file_and_entry(write: Write, changes: dict[str, object], fault: str) -> None:
    path = write(**changes)
    with pytest.raises(DatasetError, match=fault) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_image_name_too_long_for_the_disk_is_a_missing_image(write: Write) -> None:
    path = write(images=[{**IMAGE, "file_name": "a" * 300 + ".png"}])
    with pytest.raises(DatasetError, match="id 11"):
        read_coco(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"\x89PNG\r\n", b"[1, 2"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is not JSON") as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "{}"])
def test_json_that_is_not_coco_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match="not a COCO detection file") as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


def test_an_absent_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read_coco(path)
        assert str(path) in str(caught.value)


def test_an_image_of_another_size_than_its_entry_is_refused(write: Write, tmp_path: Path) -> None:
    image = read_coco(write(images=[{**IMAGE, "width": 41}])).images[0]
    with pytest.raises(DatasetError, match=r"is 40x30 px, but its entry states 41x30") as caught:
        image.read()
    assert str(tmp_path / "images" / "a.png") in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_cut_short_is_refused(write: Write, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "images" / f"b{suffix}"
    dataset_path = write(images=[{**IMAGE, "file_name": "a.png"}, {**IMAGE, "id": 12, "file_name": path.name}])
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    content = cv2.imencode(suffix, pixels)[1].tobytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    image = read_coco(dataset_path).images[1]
    with pytest.raises(DatasetError, match="cut short") as caught:
        image.read()
    assert str(path) in str(caught.value)


def test_a_split_lies_in_the_folder_and_a_file_is_any_split(dataset_folder: Path) -> None:
    assert open_dataset(dataset_folder, "val").path == dataset_folder / "val.json"
    assert open_dataset(dataset_folder / "train.json", "val").path == dataset_folder / "train.json"


def test_images_of_the_layout_that_coco_itself_has_are_found(write: Write, tmp_path: Path) -> None:
    source = write()
    for images in ("val2017", "images/val2017"):
        folder = tmp_path / images.replace("/", "-")
        (folder / "annotations").mkdir(parents=True)
        (folder / images).mkdir(parents=True)
        (folder / "annotations" / "instances_val2017.json").write_bytes(source.read_bytes())
        (folder / images / "a.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
        dataset = open_dataset(folder, "val")
        assert dataset.images[0].path == folder / images / "a.png"
        assert dataset.name == "annotations/instances_val2017.json"
        assert open_dataset(folder / "annotations" / "instances_val2017.json", "train").num_boxes == 1


def test_a_file_beside_the_images_of_each_split_is_found(write: Write, tmp_path: Path) -> None:
    source = write()
    folder = tmp_path / "export" / "valid"
    folder.mkdir(parents=True)
    (folder / "_annotations.coco.json").write_bytes(source.read_bytes())
    (folder / "a.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    assert open_dataset(folder.parent, "val").images[0].path == folder / "a.png"
    assert open_dataset(folder, "train").images[0].path == folder / "a.png"


def test_two_files_for_one_split_are_named(write: Write, tmp_path: Path) -> None:
    content = write().read_bytes()
    (tmp_path / "annotations").mkdir()
    for name in ("instances_val2014.json", "instances_val2017.json"):
        (tmp_path / "annotations" / name).write_bytes(content)
    with pytest.raises(DatasetError, match=r"instances_val2014\.json and annotations/instances_val2017\.json"):
        open_dataset(tmp_path, "val")


def test_every_fault_is_collected_where_that_is_requested(write: Write) -> None:
    path = write(
        images=[IMAGE, {**IMAGE, "id": 12, "file_name": "gone.png"}, {**IMAGE, "id": 11}, {"id": 13}],
        annotations=[
            {**PERSON, "bbox": [0, 0, 0, 1]},
            PERSON,
            {**PERSON, "category_id": 4},
            {**PERSON, "image_id": 99},
            {**PERSON, "score": 2},
            {"image_id": 11},
        ],
    )
    faults = Faults(collect=True)
    dataset = read_coco(path, faults)
    assert [image.boxes_xyxy.tolist() for image in dataset.images] == [[[4, 5, 14, 17]]]
    named = ["images[2]", "images[3]", *(f"annotations[{i}]" for i in (0, 2, 3, 4, 5)), "gone.png"]
    assert len(faults.found) == len(named)
    for name, fault in zip(named, faults.found, strict=True):
        assert fault.startswith(f"{path}: ")
        assert name in fault
    with pytest.raises(DatasetError, match=r"images\[2\]"):
        read_coco(path)


def test_scores_of_boxes_that_a_detector_drew_are_kept(write: Write) -> None:
    image = read_coco(write(annotations=[{**PERSON, "score": 0.625}, PERSON])).images[0]
    assert image.scores.tolist() == [0.625, 1.0]
    assert image.scores.dtype == np.float32


@pytest.mark.parametrize("score", [0, -0.5, 1.5, math.nan, math.inf])
def test_a_score_that_is_not_a_confidence_is_named(write: Write, score: float) -> None:
    with pytest.raises(DatasetError, match=r"annotations\[0\].*score"):
        read_coco(write(annotations=[{**PERSON, "score": score}]))


def test_json_that_is_nested_without_end_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(DatasetError, match=r"deep\.json: is not JSON"):
        read_coco(path)


@pytest.mark.parametrize(
    ("json_name", "images", "file_name"),
    [
        ("result.json", "images", "images/a.png"),  # Label Studio
        ("result.json", "images", "images\\a.png"),  # Label Studio on Windows
        ("train.json", "cam1", "cam1\\a.png"),
        ("annotations/train.json", "images", "a.png"),
        ("annotations/instances_default.json", "images", "a.png"),  # CVAT
        ("annotations/instances_default.json", "images/default", "a.png"),  # CVAT
        ("annotations/person_keypoints_val2017.json", "val2017", "a.png"),  # COCO's people
        ("annotations/instances_val2017.json", "val2017", "a.png"),
        ("labels.json", "data", "a.png"),  # FiftyOne
        ("train.json", "images/train", "a.png"),
        ("train.json", "train", "train/a.png"),
        ("train.json", "train", "a.png"),
        ("_annotations.coco.json", ".", "a.png"),  # Roboflow
    ],
)
@pytest.mark.parametrize("has_empty_images", [False, True])
def test_images_are_found_where_tools_put_them(
    write: Write, tmp_path: Path, json_name: str, images: str, file_name: str, has_empty_images: bool
) -> None:
    content = write(images=[{**IMAGE, "file_name": file_name}]).read_bytes()
    root = tmp_path / "set"
    (root / json_name).parent.mkdir(parents=True)
    (root / json_name).write_bytes(content)
    (root / images).mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "images" / "a.png", root / images / "a.png")
    if has_empty_images:
        (root / "images").mkdir(exist_ok=True)
    image = read_coco(root / json_name).images[0]
    assert image.path.samefile(root / images / "a.png")
    assert len(image.boxes_xyxy) == 1
    for split in ("train", "val"):
        if split in json_name:
            assert open_dataset(root, split).num_boxes == 1
    if json_name in WHOLE:
        assert open_dataset(root, "val", undivided=True).num_boxes == 1
        assert open_dataset(root, "train").num_boxes == 1


def test_all_folders_that_were_tried_are_named(write: Write, tmp_path: Path) -> None:
    path = write(images=[{**IMAGE, "file_name": "gone.png"}])
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError) as caught:
        read_coco(path)
    line = str(caught.value)
    assert f"gone.png (image id 11) is not in {tmp_path / 'images'}" in line
    assert f"not in {tmp_path}, {tmp_path / 'data'}" in line


def test_values_that_pycocotools_takes_are_read(write: Write, tmp_path: Path) -> None:
    path = write(
        categories=[{"id": 90.0, "name": "person"}],
        images=[
            {"id": 11.0, "file_name": "a.png", "width": 40.0, "height": 30.0, "source": {"a": 1}, "group": 3},
            {"id": "b7", "file_name": "b.png"},
        ],
        annotations=[
            {**PERSON, "category_id": 90.0, "image_id": "11", "iscrowd": False, "score": None},
            {**PERSON, "image_id": "b7", "iscrowd": True},
            {**PERSON, "iscrowd": None, "area": None},
            {**PERSON, "iscrowd": 1.0},
        ],
    )
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "b.png")
    first, second = read_coco(path).images
    assert first.crowd.tolist() == [False, False, True]
    assert second.crowd.tolist() == [True]
    assert first.image_hw == second.image_hw == (30, 40), "read from the image where the entry does not state it"
    assert first.tags == ()
    assert first.source is None
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / "b.png").unlink()
    faults = Faults(collect=True)
    read_coco(path, faults)
    assert len(faults.found) == 3, faults.found
    assert "b7" in faults.found[0]


@pytest.mark.parametrize("size", [40.5, 0.0, math.nan, math.inf])
def test_a_size_that_is_no_number_of_pixels_is_named(write: Write, size: float) -> None:
    with pytest.raises(DatasetError, match=r"images\[0\]: image id 11 states"):
        read_coco(write(images=[{**IMAGE, "width": size}]))


ROBOFLOW = [
    {"id": 0, "name": "person", "supercategory": "none"},
    {"id": 1, "name": "person", "supercategory": "person"},
]


@pytest.mark.parametrize("parent", ["person", "street-people"])
def test_the_parent_of_roboflows_classes_is_no_class(write: Write, parent: str) -> None:
    categories = [{**ROBOFLOW[0], "name": parent}, {**ROBOFLOW[1], "supercategory": parent}]
    dataset = read_coco(write(categories=categories, annotations=[{**PERSON, "category_id": 1}]))
    assert dataset.class_names == ("background", "person")
    assert dataset.images[0].class_ids.tolist() == [1]
    assert dataset.notes == (
        f"{dataset.path}: category {parent!r} has no boxes and is the parent of others; it is left out",
    )


def test_categories_of_one_name_are_one_class_and_parents_with_boxes_stay(write: Write) -> None:
    used = [{**PERSON, "category_id": 1}, {**PERSON, "category_id": 0, "bbox": [1, 2, 3, 4]}]
    dataset = read_coco(write(categories=ROBOFLOW, annotations=used))
    assert dataset.class_names == ("background", "person")
    assert dataset.images[0].class_ids.tolist() == [1, 1]
    assert dataset.notes == (f"{dataset.path}: 2 categories are called 'person'; they are one class",)
    own = [{"id": 1, "name": "person", "supercategory": "person"}]
    assert read_coco(write(categories=own, annotations=[])).class_names == ("background", "person")


def test_a_rotated_box_becomes_the_upright_box_around_it(write: Write) -> None:
    def rotated(degrees: float, bbox: list[float]) -> dict[str, object]:
        return {**PERSON, "bbox": bbox, "attributes": {"occluded": False, "rotation": degrees}}

    annotations = [
        rotated(0.0, [4, 5, 10, 12]),
        rotated(90.0, [10, 10, 12, 6]),
        rotated(30.0, [10, 10, 12, 6]),
        rotated(180.0, [4, 5, 10, 12]),
        rotated(45.0, [1, 1, 20, 20]),
    ]
    dataset = read_coco(write(annotations=annotations))
    boxes = dataset.images[0].boxes_xyxy
    np.testing.assert_allclose(boxes[0], [4, 5, 14, 17])
    np.testing.assert_allclose(boxes[1], [13, 7, 19, 19], atol=1e-5)
    corners = cv2.boxPoints(((16, 13), (12, 6), 30))
    np.testing.assert_allclose(boxes[2], [*corners.min(axis=0), *corners.max(axis=0)], atol=1e-4)
    np.testing.assert_allclose(boxes[3], [4, 5, 14, 17], atol=1e-5)
    assert boxes[4].tolist()[:2] == [0, 0], "within the image"
    assert dataset.notes == (f"{dataset.path}: 4 boxes are rotated; the upright boxes around them are taken",)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("via_project_7Jan2020_coco.json", {"categories": [], "images": [], "annotations": []}, "COCO JSON"),
        ("my_labels.json", {"_via_settings": {}, "_via_img_metadata": {}}, "VIA"),
        ("my_labels.json", {"a.png9": {"filename": "a.png", "size": 9, "regions": []}}, "VIA"),
        ("my_labels.json", {"categories": [], "images": []}, "COCO JSON"),
        ("via_x.json", {}, "VIA"),
        ("x.json", {}, "COCO JSON"),
    ],
)
def test_via_and_coco_are_told_by_their_content(
    tmp_path: Path, name: str, content: dict[str, object], expected: str
) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert recognize(tmp_path / name).name == expected


def test_images_of_another_place_that_a_choice_leaves_out_are_no_note(write: Write, tmp_path: Path) -> None:
    path = write()
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "b.png")
    assert len(read_coco(path, Faults()).notes) == 1
    chosen = write(images=[{**IMAGE, "file_name": str(tmp_path / "images" / "a.png")}])
    assert read_coco(chosen, Faults()).notes == ()
