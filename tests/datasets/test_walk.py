"""One rule says which folders every reader looks into."""

from pathlib import Path

import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.walk import files_below
from mmpnet.train.distillation.pseudo_labels import unlabeled_images
from support.drawn_images import WRITERS, Drawn, draw_image

LAYOUTS = {
    "YOLO": ("images/train", "labels/train"),
    "Pascal VOC": ("JPEGImages", "Annotations"),
    "Pascal VOC beside": (".", "."),
    "gt_data": (".", "."),
    "Penn-Fudan": ("PNGImages", "PedMasks"),
}
"""Folders of images and labels that each format's writer makes."""


def test_hidden_names_are_left_out_and_links_are_entered_once(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    for name in ("b/2.txt", "a/1.txt", ".git/config", "a/.ipynb_checkpoints/1-checkpoint.txt", "a/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (store / "deep").mkdir(parents=True)
    (store / "deep" / "3.txt").touch()
    (root / "cam").symlink_to(store)
    (root / "second").symlink_to(store / "deep")
    (store / "deep" / "circle").symlink_to(root)
    found = [file.relative_to(root).as_posix() for file in files_below(root)]
    assert found == ["a/1.txt", "b/2.txt", "cam/deep/3.txt"]
    with pytest.raises(DatasetError, match=r"absent: cannot be listed \(No such file or directory\)"):
        files_below(tmp_path / "absent")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_reader_enters_linked_and_no_hidden_folders(name: str, tmp_path: Path) -> None:
    images = [Drawn("a", (30, 40), [(4, 5, 14, 17)]), Drawn("b", (30, 40), [(1, 2, 9, 9), (20, 10, 30, 20)])]
    path = WRITERS[name](tmp_path / "set", images)
    root = path.parent if path.is_file() else path
    for index, folder in enumerate(sorted({root / one for one in LAYOUTS[name]})):
        files = [file for file in folder.iterdir() if file.stem.startswith("b")]
        assert files
        store = tmp_path / f"store{index}"
        store.mkdir()
        (folder / ".copies").mkdir()
        for file in files:
            (folder / ".copies" / file.name).write_bytes(file.read_bytes())
            file.rename(store / file.name)
        (folder / "cam2").symlink_to(store)
    dataset = open_dataset(path, "train")
    assert [image.path.stem for image in dataset.images] == ["a", "b"]
    assert [len(image.boxes_xyxy) for image in dataset.images] == [1, 2]
    assert dataset.images[1].path.parent.name == "cam2"


def test_images_without_labels_are_listed_by_the_same_rule(tmp_path: Path) -> None:
    draw_image(tmp_path / "in" / "a.png", Drawn("a", (20, 20), []))
    draw_image(tmp_path / "in" / ".thumbnails" / "a.png", Drawn("a", (20, 20), []))
    draw_image(tmp_path / "store" / "b.png", Drawn("b", (20, 20), []))
    (tmp_path / "in" / "cam2").symlink_to(tmp_path / "store")
    assert [image.path.name for image in unlabeled_images(tmp_path / "in")] == ["a.png", "b.png"]
