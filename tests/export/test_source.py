"""A file that was exported is exported again: the same network, in another shape and with what the file states."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from mmpnet.contract.errors import CheckpointError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.thresholds import Thresholds
from mmpnet.export import ExportOptions, export
from mmpnet.export.cli.command import app
from mmpnet.export.source import open_source
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import synthetic_frame
from mmpnet.train.artifacts.checkpoint import load_checkpoint, sha256_of
from support.exported import ExportCache

ALL = Thresholds(conf=0.05)


def stated(path: Path) -> ModelMetadata:
    found = read_model_file(path).metadata
    assert found is not None
    return found


def detections(path: Path) -> NDArray[np.float32]:
    """Boxes and scores of a frame, (N, 5)."""
    found = Detector(path, provider="cpu", threads=1).with_thresholds(ALL)(synthetic_frame(3, (96, 128)))
    assert len(found) > 3
    return np.column_stack([found.xyxy, found.score])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "grid"},
        {"head": "nms"},
        {"input_kind": "float-nchw"},
        {"batch": "dynamic"},
    ],
    ids=str,
)
def test_another_shape_of_a_file_is_that_of_its_checkpoint(
    tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions, tmp_path: Path, changes: dict[str, str]
) -> None:
    file = exported(tiny_checkpoint, dataclasses.replace(export_options, **changes))  # type: ignore[arg-type]
    wide = dataclasses.replace(export_options, input_hw=(48, 96))
    again = export_file(file, tmp_path / "again.onnx", wide)
    expected = exported(tiny_checkpoint, wide)
    np.testing.assert_allclose(detections(tmp_path / "again.onnx"), detections(expected), rtol=0, atol=2e-3)
    as_expected = stated(expected)
    assert again.checkpoint_sha256 == as_expected.checkpoint_sha256 == sha256_of(tiny_checkpoint)
    for name in ("training", "class_names", "anchors", "outputs"):
        assert getattr(again, name) == getattr(as_expected, name)
    assert again.evaluation is None, "an accuracy at another input size is not that of this file"


def test_at_the_same_size_the_accuracy_of_training_stays(
    tiny_onnx: Path, tmp_path: Path, export_options: ExportOptions
) -> None:
    again = export_file(tiny_onnx, tmp_path / "again.onnx", export_options)
    assert again.evaluation == stated(tiny_onnx).evaluation


@pytest.mark.parametrize(
    "changes",
    [{"channels": 24, "separate_towers": True, "tower_depth": 2, "kernel_size": 5}, {"width_mult": 0.33}],
    ids=str,
)
def test_the_network_is_known_from_the_file(
    make_checkpoint: Callable[..., Path], export_options: ExportOptions, tmp_path: Path, changes: dict[str, float]
) -> None:
    checkpoint = make_checkpoint(tmp_path / "a.pth", **changes)
    export_file(checkpoint, tmp_path / "a.onnx", export_options)
    read = open_source(tmp_path / "a.onnx").checkpoint
    shapes = {name: tensor.shape for name, tensor in load_checkpoint(checkpoint).ema.items()}
    assert {name: tensor.shape for name, tensor in read.ema.items()} == shapes


def test_licenses_and_thresholds_stay_unless_others_are_given(
    tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions, tmp_path: Path
) -> None:
    options = dataclasses.replace(
        export_options, conf=0.21, iou=0.45, max_det=7, weights_license="CC0", data_license="CC BY 4.0"
    )
    file = exported(tiny_checkpoint, options)
    runs = {"kept.onnx": [], "changed.onnx": ["--conf", "0.5", "--data-license", "ODbL"]}
    for name, words in runs.items():
        done = CliRunner().invoke(app, [str(file), "-o", str(tmp_path / name), *words])
        assert done.exit_code == 0, done.stderr
    kept, changed = (stated(tmp_path / name) for name in runs)
    assert (kept.default_conf, kept.licences.weights, kept.licences.data) == (0.21, "CC0", "CC BY 4.0")
    assert (kept.default_iou, kept.default_max_det) == (0.45, 7)
    assert (changed.default_conf, changed.licences.weights, changed.licences.data) == (0.5, "CC0", "ODbL")
    assert (changed.default_iou, changed.default_max_det) == (0.45, 7)
    from_python = export(file, tmp_path / "python.onnx", options=ExportOptions(iou=0.6, self_test_seeds=1))
    assert from_python.thresholds == Thresholds(0.21, 0.6, 7)


def test_the_model_that_ships_is_known_by_its_name() -> None:
    source = open_source(Path("person-320"))
    assert source.stated is not None
    assert source.sha256 == source.stated.checkpoint_sha256
    assert source.checkpoint.model.input_hw == (320, 320)


def test_a_name_that_is_none_is_one_line() -> None:
    with pytest.raises(CheckpointError, match=r"person-32: no such file; expected last.pth .* or person-320"):
        open_source(Path("person-32"))


def test_an_int8_file_is_one_line() -> None:
    with pytest.raises(CheckpointError, match=r"is int8; only a float32 file has the weights of training; give that"):
        open_source(Path("person-320-int8"))


def test_no_file_replaces_the_one_that_it_is_made_from(tiny_onnx: Path) -> None:
    before = tiny_onnx.read_bytes()
    for words in ([str(tiny_onnx)], ["person-320", "-o", str(model_path())]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert "is the file to export; give another name" in " ".join(done.stderr.replace("│", "").split())
    with pytest.raises(ValueError, match="is the file to export; give another name"):
        export(tiny_onnx)
    assert tiny_onnx.read_bytes() == before
