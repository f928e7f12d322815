"""Decoded images have the pixels of the files, in every process, and no file stays on the disk."""

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import Dataset
from mmpnet.train.loading.image_cache import CachedImages, StoredImages, fits
from support.coco_writer import write_coco


@pytest.fixture
def dataset(dataset_folder: Path) -> Dataset:
    return read_coco(dataset_folder / "train.json")


@pytest.mark.parametrize("longest_px", [640, 50])
def test_cached_pixels_and_boxes_are_those_of_the_files(dataset: Dataset, tmp_path: Path, longest_px: int) -> None:
    stored = StoredImages(dataset.images, longest_px)
    cached = CachedImages(dataset.images, longest_px, tmp_path / "images.cache")
    cached.fill()
    assert (tmp_path / "images.cache").stat().st_size == stored.num_bytes() == cached.num_bytes()
    for index in range(len(dataset.images)):
        pixels, boxes = stored.read(index)
        same_pixels, same_boxes = cached.read(index)
        np.testing.assert_array_equal(pixels, same_pixels)
        np.testing.assert_array_equal(boxes, same_boxes)


def test_long_images_are_shrunk_with_their_boxes(dataset: Dataset) -> None:
    image = dataset.images[0]
    pixels, boxes = StoredImages(dataset.images, 64).read(0)
    assert pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(boxes, image.boxes_xyxy / 2)
    whole, same = StoredImages(dataset.images, 128).read(0)
    np.testing.assert_array_equal(whole, image.read())
    np.testing.assert_array_equal(same, image.boxes_xyxy)


def test_another_process_maps_the_file_instead_of_copying_it(dataset: Dataset, tmp_path: Path) -> None:
    cached = CachedImages(dataset.images, 640, tmp_path / "images.cache")
    cached.fill()
    cached.read(0)
    sent = pickle.dumps(cached)
    assert len(sent) < cached.num_bytes() / 4
    np.testing.assert_array_equal(pickle.loads(sent).read(3)[0], cached.read(3)[0])


def test_the_file_goes_with_the_cache(dataset: Dataset, tmp_path: Path) -> None:
    cached = CachedImages(dataset.images, 640, tmp_path / "images.cache")
    cached.fill()
    cached.read(0)
    cached.close()
    assert list(tmp_path.iterdir()) == []


def test_a_bad_image_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "data" / "train.json", count=4, seed=0)
    images = read_coco(path).images
    cv2.imwrite(str(images[2].path), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(DatasetError, match=images[2].path.name):
        CachedImages(images, 640, tmp_path / "images.cache").fill()
    assert not (tmp_path / "images.cache").exists()


def test_a_full_disk_is_one_line_and_leaves_no_file(dataset: Dataset, tmp_path: Path) -> None:
    full = tmp_path / "images.cache"
    full.symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"decoded images cannot be written.*--cache off"):
        CachedImages(dataset.images, 640, full).fill()
    assert not full.is_symlink()


def test_what_is_too_large_for_memory_or_disk_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits(10**6, tmp_path)
    assert not fits(10**15, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**5}))
    assert not fits(10**6, tmp_path)
