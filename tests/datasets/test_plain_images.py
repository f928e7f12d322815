"""A folder of images without labels is read as such, and is no labeled data."""

from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.plain_images import is_plain_folder, read_plain_images
from mmpnet.media.images import write_image


def images_in(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, np.full((20 + number, 30, 3), number, np.uint8))
    return folder


def test_images_of_a_folder_and_below_it_are_read_without_boxes(tmp_path: Path) -> None:
    folder = images_in(tmp_path / "day", "b.png", "morning/a.jpg")
    (folder / "notes.txt").write_text("rain\n")
    assert is_plain_folder(folder)
    dataset = read_plain_images(folder)
    assert [image.path for image in dataset.images] == [folder / "b.png", folder / "morning" / "a.jpg"]
    assert [image.image_hw for image in dataset.images] == [(20, 30), (21, 30)]
    assert dataset.class_names == ("background",)
    assert dataset.num_boxes == 0
    assert dataset.notes == (f"{folder}: 2 images without labels: it is not known what they show",)
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes() + b"x")
    assert read_plain_images(folder).sha256 != dataset.sha256


def test_labeled_images_and_other_folders_are_not_plain(dataset_folder: Path, tmp_path: Path) -> None:
    assert not is_plain_folder(dataset_folder)
    assert not is_plain_folder(dataset_folder / "train.json")
    assert not is_plain_folder(tmp_path)
    assert not is_plain_folder(tmp_path / "absent")


def test_training_does_not_take_images_without_labels_for_background(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no known dataset format"):
        load_dataset([images_in(tmp_path / "day", "a.png")], "train")
