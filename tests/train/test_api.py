"""train, validate and export as functions of Python."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import mmpnet.export
import mmpnet.train
from mmpnet.contract.errors import DatasetError, OutputError
from mmpnet.export import ExportOptions, export
from mmpnet.runtime import Detector
from mmpnet.train import train, validate

QUICK: dict[str, Any] = {
    "weights": "none",
    "input_hw": (64, 64),
    "width_mult": 0.25,
    "channels": 16,
    "batch": 4,
    "device": "cpu",
    "workers": 0,
    "warmup_steps": 1,
    "sizes_px": [16, 40],
}


def test_train_validate_and_export(dataset_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    best = train(dataset_folder, folder=tmp_path / "run", epochs=1, notice=said.append, **QUICK)
    assert best == tmp_path / "run" / "best.pth"
    assert any("16 images" in line for line in said)
    from_torch = validate(best, dataset_folder, resamples=0)
    metadata = export(best, tmp_path / "a.onnx", options=ExportOptions(self_test_seeds=1))
    from_file = validate(str(tmp_path / "a.onnx"), [dataset_folder], resamples=20)
    assert from_file.evaluation.ap("AP") == pytest.approx(from_torch.evaluation.ap("AP"), abs=1e-3)
    assert from_torch.interval("AP") is None
    assert metadata == Detector(tmp_path / "a.onnx", provider="cpu").metadata
    with pytest.raises(OutputError, match="exists"):
        train(dataset_folder, folder=tmp_path / "run", **QUICK)


def test_bad_calls_are_reported_before_any_work(dataset_folder: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no option 'epoch'; did you mean 'epochs'"):
        train(dataset_folder, folder=tmp_path / "run", epoch=1)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        train(dataset_folder, folder=tmp_path / "run", epochs=0)
    with pytest.raises(DatasetError):
        train(tmp_path / "absent", folder=tmp_path / "run")
    with pytest.raises(ValueError, match=r"expected a checkpoint \.pth or an exported \.onnx"):
        validate(dataset_folder / "val.json", dataset_folder)
    with pytest.raises(ValueError, match="--int8 and --calib IMAGES go together"):
        export(tiny_checkpoint, tmp_path / "a.onnx", precision="int8")
    with pytest.raises(ValueError, match="--frozen goes with --nms"):
        export(tiny_checkpoint, tmp_path / "a.onnx", options=dataclasses.replace(ExportOptions(), frozen=True))
    assert list(tmp_path.iterdir()) == []


def test_the_packages_name_their_functions() -> None:
    assert dir(mmpnet.train) == ["train", "validate"]
    assert dir(mmpnet.export) == ["ExportOptions", "export"]
