"""Anchor counts equal those computed on paper; tests/bench/profile/test_layer_costs.py tests the convolutions."""

import pytest

from mmpnet.contract.anchors import AnchorSpec

SIX_A_CELL = {"sizes_px": (30.0, 60.0, 90.0), "aspect_ratios": (1.0, 2.0)}
LEVELS = [(304, 8, 38), (304, 16, 19), (320, 32, 10), (320, 64, 5), (300, 100, 3), (300, 300, 1)]
"""Input side, stride and grid side of SSD300's six maps. 300 px is not a multiple of most strides, so the input is
the nearest that gives the map."""


def count(input_px: int, stride: int) -> int:
    return len(AnchorSpec(**SIX_A_CELL, stride=stride).boxes_xyxy((input_px, input_px)))


def test_one_38x38_grid_with_six_anchors_a_cell_has_8664() -> None:
    assert count(304, 8) == 38 * 38 * 6 == 8664


@pytest.mark.parametrize(("input_px", "stride", "side"), LEVELS)
def test_each_level_has_six_anchors_a_cell(input_px: int, stride: int, side: int) -> None:
    spec = AnchorSpec(**SIX_A_CELL, stride=stride)
    assert spec.grid_hw((input_px, input_px)) == (side, side)
    assert count(input_px, stride) == 6 * side**2


def test_the_six_levels_together_have_11640() -> None:
    assert sum(count(input_px, stride) for input_px, stride, _ in LEVELS) == 11_640


def test_ssd300_itself_has_8732_because_three_levels_have_four_a_cell() -> None:
    four = {**SIX_A_CELL, "sizes_px": (30.0, 60.0), "aspect_ratios": (1.0, 2.0)}
    total = 0
    for (input_px, stride, _), kinds in zip(
        LEVELS, [four, SIX_A_CELL, SIX_A_CELL, SIX_A_CELL, four, four], strict=True
    ):
        spec = AnchorSpec(**kinds, stride=stride)
        total += len(spec.boxes_xyxy((input_px, input_px)))
    assert total == 8732
