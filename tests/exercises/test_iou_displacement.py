"""IoU over displacement: curves equal their formulas, and have their kinks at the right places."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import iou_displacement
from exercise_record import RESULTS


@pytest.mark.parametrize(("width", "height"), [(64.0, 128.0), (10.0, 10.0), (30.0, 7.5)])
def test_curves_are_those_on_paper(width: float, height: float) -> None:
    dx = iou_displacement.displacements(width)
    curves = iou_displacement.overlap_curves(dx, width, height)
    shift = np.abs(dx)
    ratio = (width - shift) / (width + shift)
    np.testing.assert_allclose(curves["IoU"], np.maximum(ratio, 0), atol=1e-6)
    np.testing.assert_allclose(curves["GIoU"], ratio, atol=1e-6)
    diagonal = (width + shift) ** 2 + height**2
    np.testing.assert_allclose(curves["DIoU"], np.maximum(ratio, 0) - shift**2 / diagonal, atol=1e-6)


@pytest.mark.parametrize("width", [10.0, 64.0, 300.0])
def test_iou_has_three_kinks_and_no_gradient_beyond_the_outer_two(width: float) -> None:
    dx = iou_displacement.displacements(width)
    curves = iou_displacement.overlap_curves(dx, width, 50.0)
    report = {name: iou_displacement.describe(dx, curve, width) for name, curve in curves.items()}
    assert report["IoU"]["kinks_px"] == pytest.approx([-width, 0, width])
    assert report["IoU"]["flat_px"] == [(dx[0], -width), (width, dx[-1])]
    assert report["GIoU"] == {"kinks_px": [0.0], "flat_px": []}
    assert report["DIoU"]["kinks_px"] == pytest.approx([-width, 0, width])
    assert report["DIoU"]["flat_px"] == []


def test_a_smooth_curve_has_no_kinks_however_steep() -> None:
    dx = iou_displacement.displacements(1.0)
    assert iou_displacement.find_kinks(dx, np.sin(3 * dx), 1.0) == []
    assert iou_displacement.find_kinks(dx, np.abs(dx - 0.5), 1.0) == [0.5]


def test_command_leaves_plot_and_numbers(tmp_path: Path) -> None:
    result = CliRunner().invoke(iou_displacement.app, ["--width", "20", "--results", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["curves"]["IoU"]["kinks_px"] == [-20, 0, 20]
    assert json.loads((tmp_path / "iou_displacement.json").read_text()) == document
    assert (tmp_path / "iou_displacement.png").read_bytes().startswith(b"\x89PNG")


def test_committed_numbers_are_what_the_script_finds(tmp_path: Path) -> None:
    result = CliRunner().invoke(iou_displacement.app, ["--results", str(tmp_path), "--json"])
    committed = json.loads((RESULTS / "iou_displacement.json").read_text())
    assert json.loads(result.stdout)["curves"] == committed["curves"]
