"""Boxes stay with their pixels in every view, and views vary as much as configured."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.letterbox import Letterbox
from mmpnet.train.choices import AugmentationName
from mmpnet.train.loading.augment import (
    AUGMENTATIONS,
    MIN_SIDE_PX,
    MIN_VISIBLE,
    Augmentation,
    Sample,
    augment,
    change_colors,
    mosaic,
    random_window,
)

FULL = AUGMENTATIONS["full"]
MOVED = replace(FULL, color=0, gray=0)
"""Windows, scales and flips only, so that edges can be found in the pixels."""
STILL = AUGMENTATIONS["none"]
LETTERBOX = Letterbox(input_hw=(128, 160), pad_value=0)
HALF_A_PIXEL = 0.55
"""An edge between two pixels is found at one of them; interpolation adds a little."""


def sample_of(frame: UInt8Array, boxes: list[tuple[float, float, float, float]]) -> Sample:
    count = len(boxes)
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.5, 1, count, dtype=np.float32)
    return Sample(frame, xyxy, np.arange(1, count + 1), scores, np.zeros(count, np.bool_))


def lone_rectangle(size_hw: tuple[int, int] = (120, 160)) -> Sample:
    """Black, with one white rectangle."""
    frame = np.zeros((*size_hw, 3), np.uint8)
    cv2.rectangle(frame, (50, 30), (89, 99), (255, 255, 255), cv2.FILLED)
    return sample_of(frame, [(50, 30, 90, 100)])


def around_bright(image: UInt8Array) -> FloatArray:
    """The box (1, 4) around the bright pixels. No change of colors makes black bright or white dark."""
    rows, cols = np.nonzero(image.min(axis=2) > 128)
    return np.array([[cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]], np.float32)


@pytest.mark.parametrize("seed", range(60))
def test_a_box_fits_its_pixels_wherever_chance_moves_it(seed: int) -> None:
    view = augment(lone_rectangle(), LETTERBOX, MOVED, np.random.default_rng(seed))
    if len(view.learned_xyxy):
        np.testing.assert_allclose(view.learned_xyxy, around_bright(view.image_bgr), atol=HALF_A_PIXEL)
    assert view.image_bgr.shape == (128, 160, 3)


def test_most_views_keep_the_only_box() -> None:
    views = [augment(lone_rectangle(), LETTERBOX, FULL, np.random.default_rng(seed)) for seed in range(200)]
    assert sum(len(view.learned_xyxy) for view in views) > 180


@pytest.mark.parametrize("seed", range(40))
def test_a_box_in_a_mosaic_fits_its_pixels(seed: int) -> None:
    black = sample_of(np.zeros((90, 70, 3), np.uint8), [])
    parts = [black, black, black, black]
    parts[seed % 4] = lone_rectangle()
    view = mosaic(parts, LETTERBOX, replace(STILL, flip=0.5), np.random.default_rng(seed))
    assert view.image_bgr.shape == (128, 160, 3)
    if len(view.learned_xyxy):
        np.testing.assert_allclose(view.learned_xyxy, around_bright(view.image_bgr), atol=HALF_A_PIXEL)


def test_most_mosaics_keep_the_only_box() -> None:
    black = sample_of(np.zeros((90, 70, 3), np.uint8), [])
    parts = [lone_rectangle(), black, black, black]
    views = [mosaic(parts, LETTERBOX, STILL, np.random.default_rng(seed)) for seed in range(100)]
    assert sum(len(view.learned_xyxy) for view in views) > 80


def test_a_mosaic_covers_the_whole_canvas_with_all_four() -> None:
    shades = [40, 80, 160, 200]
    parts = [sample_of(np.full((60 + i, 90, 3), shade, np.uint8), []) for i, shade in enumerate(shades)]
    for seed in range(20):
        view = mosaic(parts, LETTERBOX, STILL, np.random.default_rng(seed))
        assert set(np.unique(view.image_bgr)) == set(shades), "no padding is left between them"
        corners = view.image_bgr[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        assert corners.tolist() == shades


@pytest.mark.parametrize("side", [3, 4, 8])
def test_a_mosaic_of_more_images_shows_each_in_its_tile(side: int) -> None:
    shades = list(range(20, 20 + 3 * side**2, 3))
    parts = [sample_of(np.full((60, 90, 3), shade, np.uint8), []) for shade in shades]
    for seed in range(10):
        view = mosaic(parts, LETTERBOX, STILL, np.random.default_rng(seed))
        assert set(np.unique(view.image_bgr)) == set(shades), "every image has a tile, and no padding is left"
        assert view.image_bgr[[0, 0, -1, -1], [0, -1, 0, -1], 0].tolist() == [
            shades[0],
            shades[side - 1],
            shades[-side],
            shades[-1],
        ]


@pytest.mark.parametrize("seed", range(20))
def test_a_box_in_a_mosaic_of_nine_fits_its_pixels(seed: int) -> None:
    black = sample_of(np.zeros((90, 70, 3), np.uint8), [])
    parts = [black] * 9
    parts[seed % 9] = lone_rectangle()
    view = mosaic(parts, LETTERBOX, replace(STILL, flip=0.5), np.random.default_rng(seed))
    if len(view.learned_xyxy):
        np.testing.assert_allclose(view.learned_xyxy, around_bright(view.image_bgr), atol=HALF_A_PIXEL)


def test_class_ids_and_confidences_stay_with_their_boxes() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    sample = sample_of(frame, [(5, 5, 25, 45), (40, 40, 90, 90), (60, 2, 80, 30)])
    for seed in range(30):
        view = augment(sample, LETTERBOX, FULL, np.random.default_rng(seed))
        expected = dict(zip(sample.class_ids.tolist(), sample.scores.tolist(), strict=True))
        assert dict(zip(view.class_ids.tolist(), view.scores.tolist(), strict=True)).items() <= expected.items()


def test_boxes_that_a_crop_leaves_too_little_of_are_ignored() -> None:
    how = Augmentation(flip=0, zoom_out=0, crop=1, smallest_crop=0.4, stretch=0, color=0, gray=0)
    num_learned, num_remains = [], 0
    frame = np.zeros((100, 100, 3), np.uint8)
    cv2.rectangle(frame, (10, 10), (29, 49), (255, 255, 255), cv2.FILLED)
    for seed in range(300):
        sample = sample_of(frame, [(10, 10, 30, 50), (60, 60, 95, 95)])
        view = augment(sample, LETTERBOX, how, np.random.default_rng(seed))
        assert ((view.learned_xyxy[:, 2:] - view.learned_xyxy[:, :2]) >= MIN_SIDE_PX).all()
        num_learned.append(len(view.learned_xyxy))
        num_remains += int(view.ignored.sum())
        # Whatever still shows of the white box is below a box, learned or ignored.
        if (view.image_bgr > 128).any():
            assert 1 in view.class_ids
            x1, y1, x2, y2 = view.boxes_xyxy[view.class_ids == 1][0]
            left, top, right, bottom = around_bright(view.image_bgr)[0]
            assert x1 <= left + 1
            assert y1 <= top + 1
            assert x2 >= right - 1
            assert y2 >= bottom - 1
    assert {0, 1, 2} <= set(num_learned)
    assert num_remains > 10
    assert 0 < MIN_VISIBLE < 1


@pytest.mark.parametrize("name", ["light", "none"])
def test_images_that_must_not_be_mirrored_are_not(name: AugmentationName) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:, :32] = 255
    how = replace(AUGMENTATIONS[name], color=0, gray=0)
    for seed in range(40):
        view = augment(sample_of(frame, []), Letterbox((64, 64), pad_value=128), how, np.random.default_rng(seed))
        row = view.image_bgr[32, :, 0]
        inside = row[row != 128]
        assert inside[0] >= inside[-1]


def test_half_of_all_images_are_mirrored_with_their_boxes() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    how = Augmentation(flip=0.5, zoom_out=0, crop=0, stretch=0, color=0, gray=0)
    lefts = [
        float(
            augment(
                sample_of(frame, [(10, 20, 30, 60)]), Letterbox((100, 100)), how, np.random.default_rng(s)
            ).boxes_xyxy[0, 0]
        )
        for s in range(200)
    ]
    assert set(lefts) == {10.0, 70.0}
    assert 70 < lefts.count(70.0) < 130


@settings(max_examples=200, deadline=None)
@given(
    size_hw=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    input_hw=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    seed=st.integers(0, 2**32),
    as_mosaic=st.booleans(),
)
def test_any_frame_gives_a_whole_sample(
    size_hw: tuple[int, int], input_hw: tuple[int, int], seed: int, as_mosaic: bool
) -> None:
    random = np.random.default_rng(seed)
    height, width = size_hw
    corner = random.uniform(0, 0.7, (3, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + random.uniform(0.05, 0.3, (3, 2)) * (width, height)], axis=1)
    sample = Sample(
        np.zeros((*size_hw, 3), np.uint8),
        boxes.astype(np.float32),
        np.ones(3, np.int64),
        np.ones(3, np.float32),
        np.array([False, False, True]),
    )
    letterbox = Letterbox(input_hw)
    view = mosaic([sample] * 4, letterbox, FULL, random) if as_mosaic else augment(sample, letterbox, FULL, random)
    assert view.image_bgr.shape == (*input_hw, 3)
    assert view.image_bgr.flags.c_contiguous
    assert view.boxes_xyxy.dtype == np.float32
    assert len(view.boxes_xyxy) == len(view.class_ids) == len(view.scores) == len(view.ignored)
    assert (view.boxes_xyxy >= 0).all()
    assert (view.boxes_xyxy <= np.array([*input_hw[::-1]] * 2)).all()


@settings(max_examples=200, deadline=None)
@given(size_hw=st.tuples(st.integers(1, 500), st.integers(1, 500)), seed=st.integers(0, 2**32))
def test_windows_have_pixels_of_the_frame_in_them(size_hw: tuple[int, int], seed: int) -> None:
    left, top, right, bottom = random_window(size_hw, np.zeros((0, 4), np.float32), FULL, np.random.default_rng(seed))
    assert left < min(right, size_hw[1])
    assert top < min(bottom, size_hw[0])
    assert right > 0
    assert bottom > 0


def test_colors_change_but_not_beyond_recognition() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)
    correlations = []
    for seed in range(30):
        changed = change_colors(smooth, np.random.default_rng(seed))
        assert changed.dtype == np.uint8
        correlations.append(np.corrcoef(smooth.mean(axis=2).ravel(), changed.mean(axis=2).ravel())[0, 1])
    assert min(correlations) > 0.6
    assert not np.array_equal(smooth, changed)


def test_what_is_left_of_an_ignored_box_stays_ignored_and_draws_no_window() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    crop = Augmentation(flip=0, zoom_out=0, crop=1, smallest_crop=0.5, stretch=0, color=0, gray=0)
    boxes, ignored = [(0.0, 0.0, 30.0, 100.0), (40.0, 40.0, 60.0, 60.0)], np.array([True, False])
    both = replace(sample_of(frame, boxes), ignored=ignored)
    alone = sample_of(frame, boxes[1:])
    slivers = 0
    for seed in range(100):
        view = augment(both, Letterbox((100, 100)), crop, np.random.default_rng(seed))
        same = augment(alone, Letterbox((100, 100)), crop, np.random.default_rng(seed))
        np.testing.assert_array_equal(view.learned_xyxy, same.boxes_xyxy)
        shown = view.boxes_xyxy[view.ignored]
        slivers += int(((shown[:, 2] - shown[:, 0] < 15) & (shown[:, 2] - shown[:, 0] >= 2)).sum())
    assert slivers > 5, "a person cut as much as that would be no box any more"
