"""Letterboxing is cv2.resize pasted onto a constant canvas, and boxes find their way there and back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.letterbox import Letterbox, LetterboxTransform

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200, database=None)

FRAMES_HW: tuple[tuple[int, int], ...] = (
    (1, 1),
    (1, 33),
    (33, 1),
    (1, 2000),
    (2000, 1),
    (7, 5),
    (31, 47),
    (32, 48),
    (48, 32),
)
FRAMES_HW += ((16, 24), (64, 96), (97, 61), (241, 333), (720, 1279))
INPUTS_HW = ((32, 48), (48, 32), (33, 33), (64, 17))
SIDES = st.one_of(st.integers(1, 12), st.integers(1, 1000), st.integers(1, 8000))
INPUT_SIDES = st.integers(1, 700)


def random_frame(seed: int, frame_hw: tuple[int, int]) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (*frame_hw, 3), dtype=np.uint8)


def reference_letterbox(frame: UInt8Array, transform: LetterboxTransform, letterbox: Letterbox) -> UInt8Array:
    """Resize into a new image, then copy it onto a canvas of padding."""
    height, width = transform.resized_hw
    left, top = transform.top_left_xy
    canvas = np.full((*letterbox.input_hw, 3), letterbox.pad_value, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(
        np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_LINEAR_EXACT
    )
    return canvas


def boxes_in(random: np.random.Generator, frame_hw: tuple[int, int], count: int = 20) -> FloatArray:
    """Boxes in the frame, the whole frame first."""
    height, width = frame_hw
    x, y = np.sort(random.uniform(0, width, (count, 2))), np.sort(random.uniform(0, height, (count, 2)))
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    boxes[0] = (0, 0, width, height)
    return boxes.astype(np.float32)


@PROPERTY
@given(SIDES, SIDES, INPUT_SIDES, INPUT_SIDES)
def test_placement_lies_inside_the_input_centered_and_as_large_as_fits(
    frame_h: int, frame_w: int, input_h: int, input_w: int
) -> None:
    transform = Letterbox(input_hw=(input_h, input_w)).fit((frame_h, frame_w))
    (height, width), (left, top) = transform.resized_hw, transform.top_left_xy
    right_margin, bottom_margin = input_w - left - width, input_h - top - height
    assert transform.frame_hw == (frame_h, frame_w)
    assert min(height, width) >= 1
    assert min(left, top, right_margin, bottom_margin) >= 0
    assert abs(left - right_margin) <= 1
    assert abs(top - bottom_margin) <= 1
    assert height == input_h or width == input_w


@PROPERTY
@given(SIDES, SIDES, INPUT_SIDES, INPUT_SIDES)
def test_aspect_ratio_is_kept_to_within_rounding(frame_h: int, frame_w: int, input_h: int, input_w: int) -> None:
    height, width = Letterbox(input_hw=(input_h, input_w)).fit((frame_h, frame_w)).resized_hw
    # The exact size of the limiting side in whole numbers: no float decides what rounding is.
    if input_h * frame_w <= input_w * frame_h:
        exact_h, exact_w = float(input_h), frame_w * input_h / frame_h
    else:
        exact_h, exact_w = frame_h * input_w / frame_w, float(input_w)
    assert abs(height - exact_h) <= 0.5 + 1e-9 or (height == 1 and exact_h < 1)
    assert abs(width - exact_w) <= 0.5 + 1e-9 or (width == 1 and exact_w < 1)


@PROPERTY
@given(SIDES, SIDES, st.integers(16, 700), st.integers(16, 700), st.integers(0, 2**32 - 1))
def test_boxes_come_back_from_the_input_where_they_were(
    frame_h: int, frame_w: int, input_h: int, input_w: int, seed: int
) -> None:
    transform = Letterbox(input_hw=(input_h, input_w)).fit((frame_h, frame_w))
    boxes = boxes_in(np.random.default_rng(seed), (frame_h, frame_w))
    in_input = transform.to_input(boxes)
    back = transform.to_frame(in_input)
    assert in_input.dtype == back.dtype == np.float32
    # Half a thousandth of an input pixel, and never more than 1/50 of a frame pixel.
    assert np.abs(back - boxes).max() <= 0.02
    assert np.abs(transform.to_input(back) - in_input).max() <= 5e-4


@PROPERTY
@given(SIDES, SIDES, INPUT_SIDES, INPUT_SIDES)
def test_the_whole_frame_maps_onto_the_resized_image(frame_h: int, frame_w: int, input_h: int, input_w: int) -> None:
    transform = Letterbox(input_hw=(input_h, input_w)).fit((frame_h, frame_w))
    (height, width), (left, top) = transform.resized_hw, transform.top_left_xy
    whole = np.array([[0, 0, frame_w, frame_h]], np.float32)
    np.testing.assert_allclose(transform.to_input(whole)[0], [left, top, left + width, top + height], rtol=0, atol=1e-3)


def test_boxes_move_as_worked_out_by_hand() -> None:
    transform = Letterbox(input_hw=(100, 100)).fit((100, 200))
    assert transform == LetterboxTransform(frame_hw=(100, 200), resized_hw=(50, 100), top_left_xy=(0, 25))
    in_frame, in_input = np.array([[20, 10, 60, 90]], np.float32), np.array([[10, 30, 30, 70]], np.float32)
    np.testing.assert_array_equal(transform.to_input(in_frame), in_input)
    np.testing.assert_array_equal(transform.to_frame(in_input), in_frame)


def test_boxes_in_the_padding_are_clipped_to_the_frame() -> None:
    transform = Letterbox(input_hw=(100, 100)).fit((100, 200))
    boxes = np.array([[-50, 0, 150, 100], [10, 0, 20, 25], [10, 80, 20, 99]], np.float32)
    expected = np.array([[0, 0, 200, 100], [20, 0, 40, 0], [20, 100, 40, 100]], np.float32)
    np.testing.assert_array_equal(transform.to_frame(boxes), expected)


@pytest.mark.parametrize("input_hw", INPUTS_HW)
@pytest.mark.parametrize("frame_hw", FRAMES_HW)
def test_pixels_equal_a_resized_image_pasted_onto_padding(frame_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    letterbox = Letterbox(input_hw=input_hw, pad_value=7)
    frame = random_frame(1, frame_hw)
    before = frame.copy()
    pixels, transform = letterbox.apply(frame)
    assert transform == letterbox.fit(frame_hw)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, reference_letterbox(frame, transform, letterbox))
    np.testing.assert_array_equal(frame, before)


def test_a_large_frame_is_letterboxed_like_any_other() -> None:
    letterbox = Letterbox(input_hw=(320, 320))
    frame = random_frame(2, (2161, 3839))
    pixels, transform = letterbox.apply(frame)
    assert transform.resized_hw == (180, 320)
    np.testing.assert_array_equal(pixels, reference_letterbox(frame, transform, letterbox))


@pytest.mark.parametrize("pad_value", [0, 114, 255])
@pytest.mark.parametrize("frame_hw", [(10, 90), (90, 10), (31, 31)])
def test_everything_outside_the_image_is_padding(frame_hw: tuple[int, int], pad_value: int) -> None:
    letterbox = Letterbox(input_hw=(33, 48), pad_value=pad_value)
    frame = np.full((*frame_hw, 3), 99, np.uint8)
    pixels, transform = letterbox.apply(frame)
    (height, width), (left, top) = transform.resized_hw, transform.top_left_xy
    outside = np.ones((33, 48), np.bool_)
    outside[top : top + height, left : left + width] = False
    assert outside.any()
    assert (pixels[outside] == pad_value).all()
    assert (pixels[~outside] == 99).all()


@pytest.mark.parametrize("frame_hw", [(32, 48), (32, 20), (11, 48)])
def test_frames_that_need_no_resizing_are_copied_bit_for_bit(frame_hw: tuple[int, int]) -> None:
    frame = random_frame(3, frame_hw)
    pixels, transform = Letterbox(input_hw=(32, 48)).apply(frame)
    left, top = transform.top_left_xy
    assert transform.resized_hw == frame_hw
    np.testing.assert_array_equal(pixels[top : top + frame_hw[0], left : left + frame_hw[1]], frame)
    assert not np.shares_memory(pixels, frame)


@pytest.mark.parametrize("input_hw", INPUTS_HW)
def test_a_reused_dirty_buffer_gives_the_same_pixels(input_hw: tuple[int, int]) -> None:
    letterbox = Letterbox(input_hw=input_hw)
    buffer = random_frame(4, input_hw)
    for turn, frame_hw in enumerate((*FRAMES_HW, *reversed(FRAMES_HW))):
        frame = random_frame(turn, frame_hw)
        pixels, transform = letterbox.apply(frame, out=buffer)
        assert pixels is buffer
        expected, expected_placement = letterbox.apply(frame)
        np.testing.assert_array_equal(pixels, expected, err_msg=f"turn {turn}, frame {frame_hw}")
        assert transform == expected_placement


def test_a_buffer_inside_a_batch_is_filled_and_its_neighbors_are_left_alone() -> None:
    letterbox = Letterbox(input_hw=(32, 48))
    batch = np.full((3, 32, 48, 3), 201, np.uint8)
    frame = random_frame(5, (50, 60))
    letterbox.apply(frame, out=batch[1])
    np.testing.assert_array_equal(batch[1], letterbox.apply(frame)[0])
    assert (batch[[0, 2]] == 201).all()


def test_mirrored_and_read_only_frames_are_letterboxed_like_their_copies() -> None:
    letterbox = Letterbox(input_hw=(32, 48))
    frame = random_frame(6, (50, 61))
    frame.flags.writeable = False
    for view in (frame, frame[:, ::-1], frame[..., ::-1], frame[::2, ::3], frame.transpose(1, 0, 2)):
        np.testing.assert_array_equal(letterbox.apply(view)[0], letterbox.apply(view.copy())[0])


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int8),
        np.zeros((8, 8, 3), np.uint16),
    ],
    ids=lambda frame: f"{frame.shape}-{frame.dtype}",
)
def test_frames_of_another_shape_or_type_are_refused(frame: UInt8Array) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        Letterbox(input_hw=(32, 48)).apply(frame)


def test_what_is_not_an_array_is_named() -> None:
    with pytest.raises(ValueError, match=r"must be an array \(H, W, 3\) uint8, got list"):
        Letterbox(input_hw=(32, 48)).apply([[[0, 0, 0]]])  # type: ignore[arg-type]


@pytest.mark.parametrize("frame_hw", [(0, 8), (8, 0), (0, 0)])
def test_frames_without_pixels_are_refused(frame_hw: tuple[int, int]) -> None:
    letterbox = Letterbox(input_hw=(32, 48))
    with pytest.raises(ValueError, match="must have at least one pixel"):
        letterbox.apply(np.zeros((*frame_hw, 3), np.uint8))
    with pytest.raises(ValueError, match="must have at least one pixel"):
        letterbox.fit(frame_hw)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((48, 32, 3), np.uint8),
        np.zeros((32, 48), np.uint8),
        np.zeros((1, 32, 48, 3), np.uint8),
        np.zeros((32, 48, 3), np.float32),
        np.zeros((32, 48, 3), np.int8),
    ],
    ids=lambda out: f"{out.shape}-{out.dtype}",
)
def test_buffers_of_another_shape_or_type_are_refused(out: UInt8Array) -> None:
    with pytest.raises(ValueError, match="out must be"):
        Letterbox(input_hw=(32, 48)).apply(random_frame(7, (20, 20)), out=out)


@pytest.mark.parametrize("view", ["channels first", "mirrored", "RGB view", "read-only"])
def test_buffers_that_opencv_cannot_write_to_are_refused_as_a_caller_mistake(view: str) -> None:
    out = np.zeros((32, 48, 3), np.uint8)
    if view == "channels first":
        out = np.zeros((3, 32, 48), np.uint8).transpose(1, 2, 0)
    elif view == "mirrored":
        out = out[:, ::-1]
    elif view == "RGB view":
        out = out[..., ::-1]
    else:
        out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be"):
        Letterbox(input_hw=(32, 48)).apply(random_frame(8, (20, 20)), out=out)


@pytest.mark.parametrize("input_hw", [(0, 32), (32, 0), (-32, 32)])
def test_input_size_must_be_positive(input_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"must be positive, got {input_hw[0]}x{input_hw[1]}"):
        Letterbox(input_hw=input_hw)


@pytest.mark.parametrize("pad_value", [-1, 256])
def test_padding_must_be_a_byte(pad_value: int) -> None:
    with pytest.raises(ValueError, match=f"must be in 0 to 255, got {pad_value}"):
        Letterbox(input_hw=(32, 32), pad_value=pad_value)
