"""Pascal VOC: 1-based inclusive corners, difficult objects, split lists; faults are reported by file and object."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split, open_dataset
from support.drawn_images import WRITERS, Drawn, draw_image

Write = Callable[..., Path]
SIZE = "<size><width>40</width><height>30</height></size>"
DOG = "<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>"


def xml(objects: str, *, size: str = SIZE) -> str:
    return f"<annotation>{size}{objects}</annotation>"


def bndbox(xmin: object, ymin: object, xmax: object, ymax: object) -> str:
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>person</name><bndbox>{corners}</bndbox></object>"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Annotations/NAME.xml with the given text for each name, and JPEGImages/NAME.png of 40x30 px."""

    def write_files(**texts: str) -> Path:
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        for name, text in texts.items():
            draw_image(tmp_path / "JPEGImages" / f"{name}.png", Drawn(name, (30, 40), []))
            (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
        return tmp_path

    return write_files


def test_corners_are_inclusive_pixels_counted_from_1(write: Write) -> None:
    dataset = open_dataset(write(a=xml(DOG + bndbox(3, 4, 3, 4) + bndbox("10.5", 7, 20, 9))), "train")
    assert dataset.images[0].boxes_xyxy.tolist() == [[0, 1, 40, 30], [2, 3, 3, 4], [9.5, 6, 20, 9]]
    assert dataset.class_names == ("background", "dog", "person"), "in alphabetical order"
    assert dataset.images[0].class_ids.tolist() == [1, 2, 2]


def test_a_corner_at_0_shows_that_all_files_count_points_from_0(write: Write) -> None:
    dataset = open_dataset(write(a=xml(bndbox(0, 5, 40, 30)), b=xml(bndbox(3, 4, 13, 14))), "train")
    assert [image.boxes_xyxy.tolist() for image in dataset.images] == [[[0, 5, 40, 30]], [[3, 4, 13, 14]]]
    assert [note.partition(": ")[2] for note in dataset.notes] == [
        "corners in 2 of 2 files are points counted from 0, as labelImg, CVAT and Label Studio write them"
    ]


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("The VOC2007 Database", [2, 3, 13, 14]),
        ("people", [2, 3, 13, 14]),
        ("Unknown", [3, 4, 13, 14]),
        ("MyDatabase", [3, 4, 13, 14]),
        ("roboflow.com", [2, 3, 12, 13]),
        ("roboflow.ai", [2, 3, 12, 13]),
    ],
)
def test_the_tool_that_wrote_a_file_says_what_its_corners_count(
    write: Write, database: str, expected: list[float]
) -> None:
    source = f"<source><database>{database}</database></source>"
    dataset = open_dataset(write(a=xml(source + bndbox(3, 4, 13, 14))), "train")
    assert dataset.images[0].boxes_xyxy.tolist() == [expected]
    assert bool(dataset.notes) == (expected != [2, 3, 13, 14])


def test_difficult_objects_are_crowd_and_parts_are_not_objects(write: Write) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    objects = DOG.replace("<bndbox>", "<difficult>1</difficult><bndbox>") + DOG.replace("</object>", part + "</object>")
    image = open_dataset(write(a=xml(objects + DOG.replace("<name>", "<difficult>0</difficult><name>"))), "train")
    assert image.images[0].crowd.tolist() == [True, False, False]
    assert image.class_names == ("background", "dog")


def test_lists_say_what_is_train_and_val(write: Write) -> None:
    folder = write(a=xml(DOG), b=xml(bndbox(1, 1, 5, 5)), c=xml(""))
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    assert [p.path.stem for p in open_dataset(folder, "train").images] == ["a", "b", "c"]
    assert not has_split(folder, "val")
    (lists / "train.txt").write_text("a\nc\n")
    (lists / "val.txt").write_text("b\n")
    assert [p.path.stem for p in open_dataset(folder, "train").images] == ["a", "c"], "images without objects stay"
    assert [p.path.stem for p in open_dataset(folder, "val").images] == ["b"]
    assert open_dataset(folder, "val").class_names == ("background", "person")
    assert has_split(folder, "val")
    (lists / "val.txt").write_text("b\n\ngone\n")
    with pytest.raises(DatasetError, match=r"val\.txt:3: there is no annotation gone\.xml"):
        open_dataset(folder, "val")


def test_a_listed_image_that_is_gone_is_named(write: Write) -> None:
    folder = write(a=xml(DOG), b=xml(DOG))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("b\n")
    (folder / "JPEGImages" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"b\.xml: has no image"):
        open_dataset(folder, "val")


def test_without_a_size_the_image_says_it(write: Write) -> None:
    assert open_dataset(write(a=xml(DOG, size="")), "train").images[0].image_hw == (30, 40)


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        (bndbox(5, 5, 4, 9), "no area"),
        (bndbox("nan", 5, 9, 9), "not finite"),
        (bndbox(5, 5, 45, 9), "extends beyond its 40x30 px image by 5 px"),
        (bndbox("left", 5, 9, 9), "xmin is 'left'; expected a number"),
        (bndbox("", 5, 9, 9), "xmin is ''"),
        ("<object><name>person</name></object>", "has no bndbox"),
        (DOG.replace("<name>dog</name>", ""), "has no name"),
        (DOG.replace("<bndbox>", "<difficult>yes</difficult><bndbox>"), "difficult is 'yes'"),
    ],
)
def test_a_bad_object_is_named_by_file_and_number(write: Write, node: str, fault: str) -> None:
    folder = write(a=xml(DOG + node), b=xml(DOG))
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'Annotations' / 'a.xml'}: object[1]")
    faults = Faults(collect=True)
    assert open_dataset(folder, "train", faults).num_boxes == 2
    assert faults.found == [str(caught.value)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<annotation>", "is not readable XML"),
        ("", "is not readable XML"),
        ("<html></html>", "has the root <html>; expected VOC's <annotation>"),
        ('<!DOCTYPE x [<!ENTITY a "aa">]><annotation>&a;</annotation>', "is not readable XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is not readable XML"),
        (xml("", size="<size><width>0</width><height>0</height></size>"), "size states 0x0 px"),
        (xml("", size="<size><width>40</width></size>"), "height is ''"),
        (xml("", size="<size><width>nan</width><height>30</height></size>"), "size states nanx30 px"),
    ],
)
def test_a_bad_file_is_named(write: Write, text: str, fault: str) -> None:
    folder = write(a=text, b=xml(DOG))
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'Annotations' / 'a.xml'}: ")
    assert "\n" not in str(caught.value)


def test_a_class_called_background_is_refused(write: Write) -> None:
    with pytest.raises(DatasetError, match=r"classes\[0\]: the name 'background' is reserved"):
        open_dataset(write(a=xml(DOG.replace("dog", "background"))), "train")


def test_a_set_without_any_object_has_no_class(write: Write) -> None:
    folder = write(a=xml(""))
    with pytest.raises(DatasetError, match="no categories"):
        load_dataset([folder], "train")
    assert open_dataset(folder, "train").class_names == ("background",)


@pytest.mark.parametrize("name", ["Pascal VOC", "VIA"])
def test_images_of_background_alone_can_be_mixed_in(name: str, tmp_path: Path) -> None:
    people = WRITERS["COCO JSON"](tmp_path / "people", [Drawn("a", (30, 40), [(4, 5, 14, 17)])])
    nobody = WRITERS[name](tmp_path / "nobody", [Drawn("b", (30, 40), []), Drawn("c", (30, 40), [])])
    for paths in ([people, nobody], [nobody, people]):
        mixed = load_dataset(paths, "train")
        assert mixed.class_names == ("background", "person")
        assert sorted(len(image.boxes_xyxy) for image in mixed.images) == [0, 0, 1]


def test_without_defusedxml_the_extra_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "defusedxml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mmpnet\[eval\]'"):
        open_dataset(write(a=xml(DOG)), "train")
