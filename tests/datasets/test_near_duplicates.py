"""Altered copies of an image are found, and different images are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.near_duplicates import (
    LEAST_CORRELATION,
    MAX_BITS,
    detail_correlation,
    fingerprint,
    hamming_distances,
    near_duplicates,
)
from mmpnet.datasets.types import LabeledImage
from support.coco_writer import write_coco

Alter = Callable[[UInt8Array], UInt8Array]


def scene(seed: int, size_hw: tuple[int, int] = (240, 320)) -> UInt8Array:
    """Random shapes of all sizes, coarse and fine, as in a photograph."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    values = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 24, 48):
        noise = random.normal(0, 1 / cells**0.7, (cells, cells, 3)).astype(np.float32)
        values += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(128 + 90 * values / np.abs(values).mean() / 2, 0, 255), np.uint8)


def recompressed(image_bgr: UInt8Array) -> UInt8Array:
    content = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def resized(image_bgr: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(image_bgr, (130, 150), interpolation=cv2.INTER_AREA), np.uint8)


def cropped(image_bgr: UInt8Array) -> UInt8Array:
    height, width = image_bgr.shape[:2]
    return image_bgr[: round(height * 0.95), round(width * 0.05) :]


def mirrored(image_bgr: UInt8Array) -> UInt8Array:
    return np.ascontiguousarray(image_bgr[:, ::-1])


def brighter(image_bgr: UInt8Array) -> UInt8Array:
    return np.asarray(np.clip(image_bgr.astype(np.float32) * 0.8 + 40, 0, 255), np.uint8)


def written(folder: Path, images: list[UInt8Array]) -> tuple[LabeledImage, ...]:
    folder.mkdir()
    none = np.zeros(0, np.float32)
    labeled = []
    for number, image_bgr in enumerate(images):
        path = folder / f"{number:03d}.png"
        cv2.imwrite(str(path), image_bgr)
        size_hw = image_bgr.shape[0], image_bgr.shape[1]
        labeled.append(
            LabeledImage(path, size_hw, none.reshape(0, 4), none.astype(np.int64), none, none.astype(np.bool_), none)
        )
    return tuple(labeled)


@pytest.mark.parametrize("alter", [recompressed, resized, cropped, mirrored, brighter])
def test_an_altered_copy_is_found_among_other_images(tmp_path: Path, alter: Alter) -> None:
    learned = written(tmp_path / "learned", [scene(seed) for seed in range(20)])
    measured = written(tmp_path / "measured", [alter(scene(seed)) for seed in (3, 17)] + [scene(99)])
    pairs = near_duplicates(learned, measured)
    assert {(pair.learned.path.name, pair.measured.path.name) for pair in pairs} == {
        ("003.png", "000.png"),
        ("017.png", "001.png"),
    }
    assert all(pair.is_mirrored == (alter is mirrored) for pair in pairs)
    assert all(pair.bits <= MAX_BITS and LEAST_CORRELATION <= pair.correlation <= 1.001 for pair in pairs)
    assert [pair.correlation for pair in pairs] == sorted((pair.correlation for pair in pairs), reverse=True)


def test_a_crop_that_is_mirrored_and_recompressed_is_found(tmp_path: Path) -> None:
    learned = written(tmp_path / "learned", [scene(seed) for seed in range(5)])
    measured = written(tmp_path / "measured", [recompressed(mirrored(cropped(scene(2))))])
    (pair,) = near_duplicates(learned, measured)
    assert (pair.learned, pair.is_mirrored) == (learned[2], True)


def test_different_images_are_no_pairs_at_any_distance_of_their_hashes(tmp_path: Path) -> None:
    learned = written(tmp_path / "learned", [scene(seed) for seed in range(12)])
    measured = written(tmp_path / "measured", [scene(seed) for seed in range(100, 112)])
    assert near_duplicates(learned, measured, max_bits=64) == ()


def test_plain_dark_images_are_no_pairs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    learned, measured = (
        written(
            tmp_path / name,
            [np.full((90, 120, 3), shade, np.uint8) for shade in (0, 3)]
            + [random.integers(0, 4, (90, 120, 3), dtype=np.uint8) for _ in range(3)],
        )
        for name in ("learned", "measured")
    )
    assert (hamming_distances(fingerprint(learned[0].read()).dhash[None], fingerprint(measured[1].read()).dhash)) == 0
    assert near_duplicates(learned, measured, max_bits=64) == ()


def test_scenes_with_the_same_light_and_other_details_are_no_pairs() -> None:
    """A bright sky above a dark ground: the hashes agree, and so do the thumbnails but for their details."""
    light = np.linspace(1.0, -1.0, 240)[:, None, None] + np.linspace(0.4, -0.4, 320)[None, :, None]
    images = [np.clip(128 + 110 * light + 0.08 * scene(seed), 0, 255).astype(np.uint8) for seed in (1, 2)]
    prints = [fingerprint(image_bgr) for image_bgr in images]
    assert hamming_distances(prints[0].dhash[None], prints[1].dhash)[0] <= MAX_BITS
    plain = np.corrcoef(prints[0].thumbnail.ravel(), prints[1].thumbnail.ravel())[0, 1]
    assert plain > 0.95
    assert detail_correlation(prints[0].thumbnail, prints[1].thumbnail) < LEAST_CORRELATION


def test_distances_are_numbers_of_different_bits() -> None:
    random = np.random.default_rng(0)
    dhashes = random.integers(0, 256, (50, 8), dtype=np.uint8)
    dhash = random.integers(0, 256, 8, dtype=np.uint8)
    expected = [sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(row, dhash, strict=True)) for row in dhashes]
    assert hamming_distances(dhashes, dhash).tolist() == expected


def test_the_hash_of_the_mirror_image_is_the_mirrored_hash() -> None:
    image_bgr = scene(5)
    np.testing.assert_array_equal(fingerprint(mirrored(image_bgr)).dhash, fingerprint(image_bgr).mirrored_dhash)


def test_an_image_of_both_sets_is_a_pair_and_no_images_are_none(tmp_path: Path) -> None:
    images = written(tmp_path / "images", [scene(1), scene(2)])
    pairs = near_duplicates(images, images[1:])
    assert [(pair.learned, pair.bits) for pair in pairs] == [(images[1], 0)]
    assert near_duplicates((), images) == near_duplicates(images, ()) == ()


def test_a_bad_image_is_one_line(tmp_path: Path) -> None:
    images = read_coco(write_coco(tmp_path / "val.json", count=2, seed=0)).images
    images[1].path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="val_002"):
        near_duplicates(images, images)
