"""Selecting, renaming and merging classes, and mixing datasets."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.load import read_apart
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import mix, parse_classes, select_classes
from mmpnet.datasets.types import Dataset
from support.drawn_images import WRITERS, Drawn, draw_image

Make = Callable[..., Dataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A COCO dataset with these classes; image i has one box for each listed class id, each at its own x."""

    def build(name: str, classes: list[str], ids_per_image: list[list[int]]) -> Dataset:
        images, annotations = [], []
        for number, ids in enumerate(ids_per_image):
            draw_image(tmp_path / name / "images" / f"{number}.png", Drawn(f"{name}{number}", (50, 50), []))
            images.append({"id": number, "file_name": f"{number}.png", "width": 50, "height": 50, "group": "g"})
            for x, class_id in enumerate(ids):
                score = (x + 1) / 8
                bbox = [x, 0, 5 + x, 5]
                annotations.append(
                    {"image_id": number, "category_id": class_id, "bbox": bbox, "score": score, "iscrowd": x % 2}
                )
        categories = [{"id": i, "name": one} for i, one in enumerate(classes, start=1)]
        content = {"categories": categories, "images": images, "annotations": annotations}
        path = tmp_path / name / "train.json"
        path.write_text(json.dumps(content))
        return open_dataset(path, "train")

    return build


def test_boxes_of_other_classes_go_and_images_stay(make: Make) -> None:
    dataset = make("a", ["dog", "person", "cat"], [[1, 2, 3, 2], [1], []])
    chosen = select_classes(dataset, ["person"])
    assert chosen.class_names == ("background", "person")
    assert [image.class_ids.tolist() for image in chosen.images] == [[1, 1], [], []]
    first = chosen.images[0]
    assert first.boxes_xyxy[:, 0].tolist() == [1, 3], "boxes, areas, crowd and scores go together"
    assert first.areas_px2.tolist() == [30, 40]
    assert first.scores.tolist() == [0.25, 0.5]
    assert first.crowd.tolist() == [True, True]
    assert (chosen.sha256, chosen.name, chosen.path) == (dataset.sha256, dataset.name, dataset.path)
    assert dataset.num_boxes == 5, "the dataset itself is as it was"


def test_classes_are_merged_and_come_in_the_order_requested(make: Make) -> None:
    dataset = make("a", ["dog", "pedestrian", "rider"], [[1, 2, 3], [3]])
    chosen = select_classes(dataset, ["person=pedestrian,rider", "dog"])
    assert chosen.class_names == ("background", "person", "dog")
    assert [image.class_ids.tolist() for image in chosen.images] == [[2, 1, 1], [1]]
    both = select_classes(dataset, ["rider,dog"])
    assert both.class_names == ("background", "rider", "dog")
    assert [image.class_ids.tolist() for image in both.images] == [[2, 1], [1]]


def test_an_unknown_class_is_one_line_with_the_known_ones(make: Make) -> None:
    dataset = make("a", ["dog", "person"], [[1]])
    for classes in (["cat"], ["person=person,cat"]):
        with pytest.raises(DatasetError, match=r"a/train\.json: has no class 'cat'; it has dog, person"):
            select_classes(dataset, classes)
    chosen = select_classes(dataset, ["person=person,cat", "dog"], allow_absent=True)
    assert chosen.class_names == ("background", "person", "dog")
    assert chosen.images[0].class_ids.tolist() == [2]


@pytest.mark.parametrize(
    "texts",
    [[""], ["a,"], ["a", "a"], ["a=b", "a"], ["a=b", "b"], ["a=b,b"], ["=a"], ["a="], ["background"], ["a=background"]],
)
def test_classes_that_say_nothing_or_too_much_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="expected NAME or NAME=OLD,OLDER"):
        parse_classes(texts)


def test_one_dataset_stays_itself(make: Make) -> None:
    dataset = make("a", ["dog"], [[1]])
    assert mix([dataset]) is dataset
    with pytest.raises(ValueError, match="at least one"):
        mix([])


def test_classes_of_a_mix_are_matched_by_name(make: Make) -> None:
    first = make("a", ["dog", "person"], [[1, 2], [2]])
    second = make("b", ["person", "cat", "dog"], [[1, 2, 3], []])
    mixed = mix([first, second])
    assert mixed.class_names == ("background", "dog", "person", "cat")
    names = [[mixed.class_names[i] for i in image.class_ids] for image in mixed.images]
    assert names == [["dog", "person"], ["person"], ["person", "cat", "dog"], []]
    for found, source in zip(mixed.images, [*first.images, *second.images], strict=True):
        assert found.path == source.path
        for field in ("boxes_xyxy", "areas_px2", "crowd", "scores"):
            np.testing.assert_array_equal(getattr(found, field), getattr(source, field))
    assert [image.tags for image in mixed.images] == [("g", "a/train.json")] * 2 + [("g", "b/train.json")] * 2
    assert mixed.name == "a/train.json + b/train.json"


def test_the_hash_of_a_mix_depends_on_each_member_and_their_order(make: Make) -> None:
    first, second = make("a", ["dog"], [[1]]), make("b", ["dog"], [[1, 1]])
    other = dataclasses.replace(second, sha256="0" * 64)
    hashes = {mix(members).sha256 for members in ([first, second], [second, first], [first, other], [first, first])}
    assert len(hashes) == 4
    assert mix([first, second]).sha256 == mix([first, second]).sha256


def test_a_class_with_the_name_of_merged_classes_is_not_thrown_away(tmp_path: Path) -> None:
    dataset = two_classes(tmp_path)
    with pytest.raises(DatasetError, match=r"leaves out its own 2 boxes of 'person'; write person=person,pedestrian"):
        select_classes(dataset, ["person=pedestrian"])
    with pytest.raises(DatasetError, match="leaves out its own"):
        select_classes(dataset, ["person=pedestrian"], allow_absent=True)
    assert select_classes(dataset, ["person=person,pedestrian"]).num_boxes == 3
    swapped = select_classes(dataset, ["person=pedestrian", "other=person"])
    assert swapped.num_boxes == 3
    assert swapped.notes == ()


def test_boxes_that_classes_leave_out_are_counted(tmp_path: Path) -> None:
    assert select_classes(two_classes(tmp_path), ["pedestrian"]).notes == (
        f"{tmp_path.name}/labels.json: --classes leaves out 2 boxes of person",
    )
    path = tmp_path / "labels.json"
    (only,) = read_apart([path], "val", ["pedestrian"])
    assert "2 boxes of person" in only.notes[0]


def two_classes(folder: Path) -> Dataset:
    """Two boxes of `person` and one of `pedestrian`."""
    content = {
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "pedestrian"}],
        "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}],
        "annotations": [
            {"image_id": 1, "category_id": category, "bbox": [x, 1, 3, 8]} for category, x in ((1, 0), (1, 5), (2, 10))
        ],
    }
    draw_image(folder / "a.png", Drawn("a", (20, 20), []))
    (folder / "labels.json").write_text(json.dumps(content))
    return read_coco(folder / "labels.json")


@pytest.mark.parametrize("name", ["COCO JSON", "Pascal VOC", "gt_data", "VIA"])
def test_boxes_that_occur_twice_are_counted(name: str, tmp_path: Path) -> None:
    box, other = (1, 2, 9, 12), (1, 2, 9, 13)
    images = [Drawn("a", (20, 20), [box, other]), Drawn("b", (20, 20), [box, box, other, box])]
    dataset = open_dataset(WRITERS[name](tmp_path, images), "train")
    assert dataset.num_boxes == 6, "pycocotools counts them too"
    (note,) = dataset.notes
    assert "2 boxes repeat another one of their image and class, such as in b.png" in note
