"""--half: half the size and nearly the same scores, or the file is not kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from mmpnet.contract.heads import Head
from mmpnet.export import half
from mmpnet.export.cli.command import app
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import run_self_test
from support.exported import ExportCache


@pytest.mark.parametrize("head", ["grid", "boxes", "nms"])
@pytest.mark.slow
def test_only_the_network_is_float16(
    exported: ExportCache, export_options: ExportOptions, tiny_checkpoint: Path, tmp_path: Path, head: Head
) -> None:
    plain, small = exported(tiny_checkpoint, replace(export_options, head=head)), tmp_path / "half.onnx"
    thresholds = ["--conf", "0.3", "--iou", "0.5", "--max-det", "50"]
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "--head", head, *thresholds, "-o", str(small), "--half"])
    assert result.exit_code == 0, result.stderr
    metadata = read_model_file(small).metadata
    assert metadata is not None
    assert metadata.precision == "float16"
    kernels = [tensor for tensor in onnx.load(small).graph.initializer if tensor.name.endswith(".weight")]
    assert len(kernels) > 50
    assert {tensor.data_type for tensor in kernels} == {onnx.TensorProto.FLOAT16}
    assert small.stat().st_size < 0.7 * plain.stat().st_size
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected, found = Detector(plain, provider="cpu", threads=1)(frame), Detector(small, provider="cpu")(frame)
    np.testing.assert_allclose(found.score[:5], expected.score[:5], atol=0.02)
    assert len(expected) >= 5
    run_self_test(Detector(small, provider="cpu", threads=1))


def test_too_large_a_difference_leaves_the_old_file(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half, "MAX_SCORE_DIFFERENCE", -1.0)
    out = tmp_path / "m.onnx"
    out.write_bytes(b"older file")
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "-o", str(out), "--half"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "float16 was not kept" in result.stderr
    assert "m.onnx: float16" in result.stderr, "the message names the file of the command line"
    assert out.read_bytes() == b"older file"


def test_a_batch_that_cannot_be_compared_is_rejected(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "-o", str(tmp_path / "m.onnx"), "--half", "--batch", "4"])
    assert result.exit_code == 2
    assert "--half with --batch 4" in result.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_two_precisions_at_once_are_rejected(tiny_checkpoint: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "--half", "--int8", "--calib", "x"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "give one of them" in result.stderr
