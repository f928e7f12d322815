"""Anchors equal those of a slow four-fold loop, and the fingerprint identifies them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray

SPEC = AnchorSpec(sizes_px=(24.0, 61.5, 130.0), aspect_ratios=(1.0, 2.4), stride=16)
OTHER_SPECS = (
    SPEC,
    AnchorSpec(sizes_px=(8.0,), aspect_ratios=(0.5,), stride=8),
    AnchorSpec(sizes_px=(20.0, 10.0), aspect_ratios=(3.0, 0.25, 1.0, 1.7), stride=5),
)


def reference_boxes(spec: AnchorSpec, rows: int, cols: int) -> FloatArray:
    """Anchors from their definition, one at a time: (A, 4) xyxy in input px, by flat index."""
    shape = (len(spec.sizes_px), len(spec.aspect_ratios), rows, cols)
    boxes = np.full((math.prod(shape), 4), np.nan, np.float64)
    for s, size in enumerate(spec.sizes_px):
        for r, ratio in enumerate(spec.aspect_ratios):
            width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
            for row in range(rows):
                for col in range(cols):
                    x, y = (col + 0.5) * spec.stride, (row + 0.5) * spec.stride
                    flat = np.ravel_multi_index((s, r, row, col), shape)
                    boxes[flat] = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return boxes.astype(np.float32)


@pytest.mark.parametrize("spec", OTHER_SPECS, ids=str)
@pytest.mark.parametrize("grid_hw", [(1, 1), (1, 7), (7, 1), (3, 5), (6, 4)])
def test_anchors_agree_with_a_four_fold_loop(spec: AnchorSpec, grid_hw: tuple[int, int]) -> None:
    rows, cols = grid_hw
    boxes = spec.boxes_xyxy((rows * spec.stride, cols * spec.stride))
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, reference_boxes(spec, rows, cols), rtol=0, atol=1e-4)


def test_anchor_shape_follows_size_and_aspect_ratio() -> None:
    boxes = SPEC.boxes_xyxy((48, 80)).astype(np.float64)
    grid = boxes.reshape(*SPEC.grid_shape((48, 80)), 4)
    width, height = grid[..., 2] - grid[..., 0], grid[..., 3] - grid[..., 1]
    for s, size in enumerate(SPEC.sizes_px):
        for r, ratio in enumerate(SPEC.aspect_ratios):
            np.testing.assert_allclose(np.sqrt(width * height)[s, r], size, rtol=1e-5)
            np.testing.assert_allclose((height / width)[s, r], ratio, rtol=1e-5)


def test_anchor_centers_stand_in_the_middle_of_their_cells() -> None:
    grid = SPEC.boxes_xyxy((48, 80)).reshape(*SPEC.grid_shape((48, 80)), 4)
    x, y = (grid[..., 0] + grid[..., 2]) / 2, (grid[..., 1] + grid[..., 3]) / 2
    np.testing.assert_allclose(x, np.broadcast_to([8.0, 24.0, 40.0, 56.0, 72.0], x.shape), atol=1e-4)
    np.testing.assert_allclose(y, np.broadcast_to([[8.0], [24.0], [40.0]], y.shape), atol=1e-4)


def test_anchors_larger_than_the_input_are_not_clipped() -> None:
    boxes = AnchorSpec(sizes_px=(100.0,), aspect_ratios=(1.0,), stride=16).boxes_xyxy((16, 16))
    np.testing.assert_array_equal(boxes, np.array([[-42, -42, 58, 58]], np.float32))


def test_grid_shape_counts_sizes_ratios_rows_and_columns() -> None:
    assert (SPEC.num_sizes, SPEC.num_aspect_ratios) == (3, 2)
    assert SPEC.grid_hw((64, 160)) == (4, 10)
    assert SPEC.grid_shape((64, 160)) == (3, 2, 4, 10)
    assert SPEC.boxes_xyxy((64, 160)).shape == (3 * 2 * 4 * 10, 4)


@pytest.mark.parametrize("input_hw", [(65, 64), (64, 65), (8, 64), (64, 15), (0, 64), (64, 0), (-16, 64), (64, -16)])
def test_grid_refuses_an_input_that_is_not_a_positive_multiple_of_the_stride(input_hw: tuple[int, int]) -> None:
    message = f"{input_hw[0]}x{input_hw[1]} must be positive multiples of the stride 16"
    for method in (SPEC.grid_hw, SPEC.grid_shape, SPEC.boxes_xyxy):
        with pytest.raises(ValueError, match=message):
            method(input_hw)


def test_fingerprint_is_stable_across_versions() -> None:
    # Files store it: a change of this value would make every exported model unreadable.
    spec = AnchorSpec(sizes_px=(16.0, 40.0), aspect_ratios=(1.0, 2.5), stride=8)
    assert spec.fingerprint() == "a89f1c15ff74"
    assert replace(spec).fingerprint() == "a89f1c15ff74"


def test_fingerprint_changes_with_every_number() -> None:
    changed = [
        SPEC,
        replace(SPEC, stride=8),
        replace(SPEC, sizes_px=(24.0, 61.5, 130.5)),
        replace(SPEC, sizes_px=(24.0, 61.5, math.nextafter(130.0, 131.0))),
        replace(SPEC, sizes_px=(61.5, 24.0, 130.0)),
        replace(SPEC, sizes_px=(24.0, 61.5)),
        replace(SPEC, aspect_ratios=(1.0, 2.5)),
        replace(SPEC, aspect_ratios=(2.4, 1.0)),
        replace(SPEC, aspect_ratios=(1.0,)),
        replace(SPEC, sizes_px=SPEC.aspect_ratios, aspect_ratios=SPEC.sizes_px),
    ]
    fingerprints = [spec.fingerprint() for spec in changed]
    assert len(set(fingerprints)) == len(changed)
    assert all(len(text) == 12 and set(text) <= set("0123456789abcdef") for text in fingerprints)


def test_equal_specs_have_equal_fingerprints_whether_numbers_are_int_or_float() -> None:
    whole = AnchorSpec(sizes_px=(16, 40), aspect_ratios=(1, 2), stride=8)
    floating = AnchorSpec(sizes_px=(16.0, 40.0), aspect_ratios=(1.0, 2.0), stride=8)
    assert whole == floating
    assert whole.fingerprint() == floating.fingerprint()


@pytest.mark.parametrize("field", ["sizes_px", "aspect_ratios"])
@pytest.mark.parametrize("values", [(), (0.0,), (-1.0,), (1.0, -2.0), (math.nan,), (1.0, math.inf), (-math.inf,)])
def test_sizes_and_ratios_must_be_finite_and_positive(field: str, values: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must hold at least one number"):
        replace(SPEC, **{field: values})


@pytest.mark.parametrize("field", ["sizes_px", "aspect_ratios"])
@pytest.mark.parametrize("values", [(2.0, 2.0), (1.0, 3.0, 1.0)])
def test_sizes_and_ratios_must_differ(field: str, values: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must differ"):
        replace(SPEC, **{field: values})


@pytest.mark.parametrize("stride", [0, -1, -16, math.nan, math.inf])
def test_stride_must_be_finite_and_positive(stride: Any) -> None:
    with pytest.raises(ValueError, match="stride must be"):
        replace(SPEC, stride=stride)
