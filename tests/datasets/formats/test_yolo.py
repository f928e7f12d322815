"""Variants of Ultralytics' layout; every fault is reported with its file and line."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split, open_dataset
from support.drawn_images import WRITERS, Drawn, draw_image

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """This data.yaml, images/{train,val}/a.png and b.png of 40x20 px, and labels for train's a.png."""

    def write_files(rows: str = "0 0.5 0.5 0.25 0.5\n", *, yaml: str = "") -> Path:
        for split in ("train", "val"):
            for name in ("a", "b"):
                draw_image(tmp_path / "images" / split / f"{name}.png", Drawn(f"{split}{name}", (20, 40), []))
            (tmp_path / "labels" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "labels" / split / "a.txt").write_text(rows)
        (tmp_path / "data.yaml").write_text(yaml or "train: images/train\nval: images/val\nnames: [person, dog]\n")
        return tmp_path

    return write_files


def test_rows_are_boxes_in_fractions_and_a_missing_file_is_background(write: Write) -> None:
    folder = write("0 0.5 0.5 0.25 0.5\n\n1 .25 .75 .5 .5 0.625\n")
    dataset = open_dataset(folder, "val")
    assert dataset.class_names == ("background", "person", "dog")
    assert dataset.name == f"{folder.name}/val"
    first, second = dataset.images
    assert first.path == folder / "images" / "val" / "a.png"
    assert first.boxes_xyxy.tolist() == [[15, 5, 25, 15], [0, 10, 20, 20]]
    assert first.class_ids.tolist() == [1, 2]
    assert first.scores.tolist() == [1.0, 0.625], "a sixth number is the confidence of the detector that drew the box"
    assert second.boxes_xyxy.shape == (0, 4)


def test_polygons_become_their_tight_box(write: Write) -> None:
    dataset = open_dataset(write("1 0.1 0.5 0.2 0.1 0.35 0.9 0.3 0.2\n"), "train")
    np.testing.assert_allclose(dataset.images[0].boxes_xyxy, [[4, 2, 14, 18]], rtol=1e-6)


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/train\nnames: {0: person, 1: dog}\nnc: 2\n",
        "path: .\ntrain: [images/train]\nnames: [person, dog]\n",
        "path: images\ntrain: train\nnames: [person, dog]\n",
        "train: ../images/train\nnames: [person, dog]\n",
        "train: list.txt\nnames: [person, dog]\n",
    ],
)
def test_the_ways_to_name_images_and_classes(write: Write, yaml: str) -> None:
    folder = write(yaml=yaml)
    (folder / "list.txt").write_text("./images/train/a.png\nimages/train/b.png\n")
    dataset = open_dataset(folder, "train")
    assert dataset.class_names == ("background", "person", "dog")
    assert [image.path.name for image in dataset.images] == ["a.png", "b.png"]
    assert dataset.num_boxes == 1
    assert not has_split(folder, "val")
    assert len(open_dataset(folder / "data.yaml", "train").images) == 2


def test_several_folders_are_one_split_and_subfolders_are_entered(write: Write) -> None:
    dataset = open_dataset(write(yaml="train: [images/val, images/train]\ntest: images\nnames: [person]\n"), "train")
    assert [str(image.path.relative_to(dataset.path.parent)) for image in dataset.images] == [
        "images/val/a.png",
        "images/val/b.png",
        "images/train/a.png",
        "images/train/b.png",
    ]
    assert len(open_dataset(dataset.path, "test").images) == 4


def test_only_the_last_images_of_a_path_becomes_labels(tmp_path: Path) -> None:
    root = tmp_path / "images" / "set"
    draw_image(root / "images" / "a.png", Drawn("a", (20, 40), []))
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")
    (root / "data.yaml").write_text("train: images\nnames: [person]")
    assert open_dataset(root, "train").num_boxes == 1


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2 0.5 0.5 0.2 0.2", "class 2, but there are 2 names; expected 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("nan 0.5 0.5 0.2 0.2", "class nan"),
        ("0 0.5 0.5 0.2", "4 numbers; expected class cx cy w h"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 numbers"),
        ("0", "1 numbers"),
        ("person 0.5 0.5 0.2 0.2", "not a row of numbers"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 0.5 0.5 0.2 -0.2", "no area"),
        ("0 0.5 0.5 nan 0.2", "not finite"),
        ("0 20 10 8 8", "extends beyond its 40x20 px image"),
        ("0 0.5 0.5 0.2 0.2 1.5", r"score 1.5 is not in \(0, 1\]"),
        ("0 0.1 0.1 0.2 0.1 0.3 0.1", "no area"),
        ("0 0.1 0.1 inf 0.1 0.3 0.3", "not finite"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write: Write, row: str, fault: str) -> None:
    folder = write(f"1 0.5 0.5 0.25 0.5\n\n{row}\n")
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith(f"{folder / 'labels' / 'train' / 'a.txt'}:3: ")
    assert "\n" not in str(caught.value)
    faults = Faults(collect=True)
    assert open_dataset(folder, "train", faults).num_boxes == 1
    assert faults.found == [str(caught.value)]


@pytest.mark.parametrize(
    ("yaml", "fault"),
    [
        ("train: images/gone\nnames: [a]\n", "states images/gone, but"),
        ("train: labels\nnames: [a]\n", "has no images"),
        ("train: images/train\npath: gone\nnames: [a]\n", "path is gone"),
        ("train: images/train\nnames: [a]\nnc: 0\n", "nc is 0"),
        ("train: images/train\nnames: [a, a]\n", r"names\[1\]: the name 'a' occurs twice"),
        ("train: images/train\nnames: [a, background]\n", r"names\[1\].*reserved"),
        ("train: images/train\nnames: {0: a, 2: b}\n", r"numbered \[0, 2\]; expected 0 to 1"),
        ("train: images/train\nnames: [a, b]\nnc: 3\n", "nc is 3"),
        ("train: images/train\nnames: [a]\nkpt_shape: [17, 3]\n", "keypoints"),
        ("train: images/train\nnames: [no]\n", r"\$\.names"),
        ("train: images/train\n", "`names`"),
        ("- a\n", "is not YOLO's data.yaml"),
        ("names: [a\n", "is not YOLO's data.yaml"),
        ("names: \x00\n", "is not YOLO's data.yaml"),
        ("train: !!python/name:os.system\nnames: [a]\n", "is not YOLO's data.yaml"),
        ("val: images/val\nnames: [a]\n", "has no split train"),
    ],
)
def test_a_bad_data_yaml_is_named(write: Write, yaml: str, fault: str) -> None:
    folder = write(yaml=yaml)
    with pytest.raises(DatasetError, match=fault) as caught:
        open_dataset(folder, "train")
    assert str(caught.value).startswith((f"{folder / 'data.yaml'}: ", f"{folder}: has no split train"))
    assert "\n" not in str(caught.value)


def test_a_data_yaml_without_names_states_images_of_background(write: Write, tmp_path: Path) -> None:
    people = WRITERS["COCO JSON"](tmp_path / "people", [Drawn("a", (30, 40), [(4, 5, 14, 17)])])
    folder = write(yaml="train: images/train\nnames: []\n")
    with pytest.raises(DatasetError, match=r"a\.txt:1: class 0, but there are 0 names; expected no row"):
        load_dataset([people, folder], "train")
    shutil.rmtree(folder / "labels")
    mixed = load_dataset([people, folder], "train")
    assert mixed.class_names == ("background", "person")
    assert sorted(len(image.boxes_xyxy) for image in mixed.images) == [0, 0, 1]
    with pytest.raises(DatasetError, match="none of its 2 images has an object; mix it with others that do"):
        load_dataset([folder], "train")


def test_classes_that_are_counted_from_1_are_said(write: Write) -> None:
    """With all names in use the last one is an error; with fewer, each box would silently be of the class after."""
    folder = write("1 0.5 0.5 0.25 0.5\n2 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DatasetError, match=r"a\.txt:2: class 2, .* YOLO counts from 0; if all rows count from 1"):
        open_dataset(folder, "train")
    assert open_dataset(write("1 0.5 0.5 0.25 0.5\n"), "train").notes[-1] == (
        f"{folder / 'data.yaml'}: no row has the class 0, person, and 1 row has 1, dog; "
        "if the rows count classes from 1, subtract 1 in each"
    )
    for rows in ("0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.2 0.2\n", "0 0.5 0.5 0.25 0.5\n", ""):
        assert not any(
            "counts from" in note or "count classes" in note for note in open_dataset(write(rows), "train").notes
        )


@pytest.mark.parametrize("place", ["", "labels", "labels/train"])
def test_a_classes_txt_in_another_order_is_a_fault(write: Write, place: str) -> None:
    """labelImg and Label Studio write it, and the data.yaml is written by hand."""
    folder = write()
    (folder / place / "classes.txt").write_text("dog\nperson\n")
    with pytest.raises(
        DatasetError, match=r"numbers its classes person, dog, but .*classes\.txt .* dog, person; correct"
    ):
        open_dataset(folder, "train")
    for names in ("person\ndog\n", "dog\nperson\ncat\n"):  # the same, and labelImg's list for all projects
        (folder / place / "classes.txt").write_text(names)
        assert open_dataset(folder, "train").class_names == ("background", "person", "dog")


def test_labels_in_the_wrong_place_are_not_taken_for_background(write: Write) -> None:
    folder = write()
    (folder / "labels").rename(folder / "label")
    with pytest.raises(DatasetError, match=r"none of the 2 images of train .*/labels/train/a\.txt; if .* names: \[\]"):
        open_dataset(folder, "train")


def test_a_listed_image_that_is_gone_is_named(write: Write) -> None:
    folder = write(yaml="train: list.txt\nnames: [person]\n")
    (folder / "list.txt").write_text("images/train/a.png\nimages/train/gone.png\n")
    with pytest.raises(DatasetError, match=r"list\.txt:2: there is no image images/train/gone\.png"):
        open_dataset(folder, "train")


def test_labels_that_are_not_text_are_named(write: Write) -> None:
    folder = write()
    (folder / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"a\.txt: is not UTF-8 text"):
        open_dataset(folder, "train")


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("labels/train/c.txt", r"c\.txt: has no image with its name; add the image, or remove the file"),
        ("labels/train/b.png.txt", r"b\.png\.txt: repeats the suffix of b\.png; rename it"),
        ("labels/train/B.txt", r"B\.txt: has no image, but b\.png differs only in upper and lower case"),
        ("labels/train/scan.txt", r"scan\.txt: belongs to scan\.avif, which is not read"),
        ("labels/train/a.TXT", r"a\.txt: is a second label file beside a\.TXT; rename or remove one of them"),
        ("labels/train/cam2/b.txt", r"cam2/b\.txt: has no image with its name"),
        ("images/train/b.txt", r"b\.png: its label file seems to be .*/images/train/b\.txt; expected it at .*/labels/"),
        ("labels/b.txt", r"b\.png: its label file seems to be .*/labels/b\.txt; expected it at .*/labels/train/b\.txt"),
        ("images/labels/b.txt", r"b\.png: its label file seems to be .*/images/labels/b\.txt"),
        ("labels/train/classes.txt", None),
    ],
)
def test_labels_that_belong_to_no_image_are_faults(write: Write, label: str, fault: str | None) -> None:
    folder = write()
    (folder / "images" / "train" / "scan.avif").write_bytes(b"x")
    (folder / label).parent.mkdir(parents=True, exist_ok=True)
    (folder / label).write_text("0 0.5 0.5 0.5 0.5\n")
    faults = Faults(collect=True)
    dataset = open_dataset(folder, "train", faults)
    if fault is None:
        assert faults.found == []
        assert dataset.num_boxes == 1
        return
    assert len(faults.found) == 1
    assert re.search(fault, faults.found[0]), faults.found
    with pytest.raises(DatasetError, match=fault):
        open_dataset(folder, "train")


def test_names_in_the_other_unicode_form_are_not_taken_for_background(write: Write) -> None:
    folder = write()
    (folder / "images" / "train" / "b.png").rename(folder / "images" / "train" / "cafe\u0301.png")
    (folder / "labels" / "train" / "caf\u00e9.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DatasetError, match="differs only in upper and lower case or in Unicode form"):
        open_dataset(folder, "train")


def test_two_images_do_not_share_a_label_file(write: Write) -> None:
    folder = write()
    draw_image(folder / "images" / "train" / "a.bmp", Drawn("a", (20, 40), []))
    with pytest.raises(DatasetError, match=r"a\.png: shares its label file with a\.bmp; rename or remove one of them"):
        open_dataset(folder, "train")


def test_a_label_file_in_upper_case_counts_and_a_broken_link_is_named(write: Write) -> None:
    folder = write()
    label = folder / "labels" / "train" / "a.txt"
    label.rename(label.with_suffix(".TXT"))
    assert open_dataset(folder, "train").num_boxes == 1
    (folder / "labels" / "train" / "b.txt").symlink_to(folder / "gone.txt")
    with pytest.raises(DatasetError, match=r"b\.txt: cannot be read \(No such file or directory\)"):
        open_dataset(folder, "train")


def test_notes_say_what_is_taken_for_background_and_what_is_left_out(write: Write) -> None:
    folder = write()
    for name in ("c", "d"):
        draw_image(folder / "images" / "train" / f"{name}.png", Drawn(name, (20, 40), []))
    (folder / "labels" / "train" / "c.txt").touch()
    (folder / "images" / "train" / "x.gif").touch()
    unread, missing = open_dataset(folder, "train").notes
    assert "1 image, such as x.gif, left out" in unread
    assert "2 of 4 images have no label file" in missing
    assert "1 have an empty one" in missing
    assert open_dataset(folder, "val").notes[-1].startswith("1 of 2 images have no label file")


def test_repeated_rows_count_once_as_in_ultralytics(write: Write) -> None:
    dataset = open_dataset(
        write("0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.25 0.5\n0 0.5 0.5 0.25 0.5\n0 .5 .5 .25 .50\n"), "train"
    )
    assert dataset.images[0].class_ids.tolist() == [1, 2]
    assert "2 rows repeat another one of their image" in dataset.notes[-1]


@pytest.mark.parametrize("stated", ["images\\train", "..\\images\\train", "list.txt"])
def test_paths_of_windows_are_taken(write: Write, stated: str) -> None:
    folder = write(yaml=f"train: {stated}\nnames: [person, dog]\n")
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfimages\\train\\a.png\r\nimages\\train\\b.png\r\n")
    assert [image.path.name for image in open_dataset(folder, "train").images] == ["a.png", "b.png"]


def test_a_sibling_of_the_dataset_is_not_taken_for_its_own_folder(write: Write) -> None:
    folder = write()
    own = folder / "own"
    draw_image(own / "images" / "train" / "z.png", Drawn("z", (20, 40), []))
    (own / "labels" / "train").mkdir(parents=True)
    (own / "labels" / "train" / "z.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (own / "data.yaml").write_text("train: ../images/train\nnames: [person]\n")
    with pytest.raises(DatasetError, match=r"states \.\./images/train, which may be .* or .*; write the full path"):
        open_dataset(own, "train")
    (own / "data.yaml").write_text("train: images/train\nnames: [person]\n")
    assert open_dataset(own, "train").images[0].path.name == "z.png"


@pytest.mark.parametrize("stated", ["/", "..", "../.."])
def test_a_folder_around_the_dataset_is_not_walked(write: Write, stated: str) -> None:
    with pytest.raises(DatasetError, match="a folder around the whole dataset; correct the line"):
        open_dataset(write(yaml=f"train: {stated}\nnames: [person]\n"), "train")


def test_a_name_of_300_characters_is_one_line(write: Write) -> None:
    with pytest.raises(DatasetError, match=r"states x+, but .* does not exist; correct the line"):
        open_dataset(write(yaml=f"train: {'x' * 300}\nnames: [person]\n"), "train")


def test_boxes_with_keypoints_are_not_taken_for_polygons(write: Write) -> None:
    pose = "0 0.5 0.5 0.2 0.6 0.45 0.3 0.55 0.4 0 0 0.5 0.75\n1 0.3 0.5 0.3 0.8 0.2 0.2 0.4 0.4 0.3 0.6 0.3 0.85\n"
    with pytest.raises(DatasetError, match=r"data\.yaml: its rows of 13 numbers are boxes with keypoints"):
        open_dataset(write(pose), "train")


def test_polygons_and_rotated_boxes_are_not_taken_for_keypoints(write: Write) -> None:
    star = "0 0.5 0.2 0.6 0.4 0.8 0.5 0.6 0.6 0.5 0.8 0.4 0.6\n"
    rotated = "0 0.4 0.4 0.6 0.4 0.6 0.5 0.4 0.5\n"
    assert open_dataset(write(star), "train").num_boxes == 1
    assert open_dataset(write(rotated), "train").num_boxes == 1
    pose = "0 0.5 0.5 0.2 0.6 0.45 0.3 0.55 0.4 0 0 0.5 0.75\n"
    assert open_dataset(write(pose + star), "train").num_boxes == 2, "a polygon among them shows what they are"


def test_without_pyyaml_the_extra_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mmpnet\[eval\]'"):
        open_dataset(write(), "train")
