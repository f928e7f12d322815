"""The mean of weights is correct, and its checkpoint states what was measured."""

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
import torch
from typer.testing import CliRunner

import mean_weights
from harness.training.averaging import averaged
from mmpnet.contract.errors import CheckpointError
from mmpnet.train.artifacts.checkpoint import load_checkpoint, save_checkpoint


def shifted(path: Path, target: Path, by: float) -> Path:
    """The same checkpoint with every floating-point weight changed."""
    checkpoint = load_checkpoint(path)
    ema = {name: value + by if value.is_floating_point() else value for name, value in checkpoint.ema.items()}
    save_checkpoint(target, dataclasses.replace(checkpoint, ema=ema))
    return target


def test_the_mean_lies_between_and_holds_what_was_measured(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    other, out = shifted(tiny_checkpoint, tmp_path / "other.pth", 0.75), tmp_path / "mean.pth"
    arguments = [tiny_checkpoint, tiny_checkpoint, other, "--data", dataset_folder, "-o", out, "--json"]
    result = CliRunner().invoke(mean_weights.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.stderr
    start, mean = load_checkpoint(tiny_checkpoint), load_checkpoint(out)
    for name, value in mean.ema.items():
        moved = 0.25 if value.is_floating_point() else 0
        torch.testing.assert_close(value, start.ema[name] + moved)
    found = json.loads(result.stdout)["checkpoints"]
    assert list(found) == [str(tiny_checkpoint), str(other), str(out)]
    assert mean.provenance.evaluation == found[str(out)]
    assert mean.provenance.val_images == found[str(out)]["n_images"]


def test_networks_of_another_shape_have_no_mean(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    other = dataclasses.replace(checkpoint, model=msgspec.structs.replace(checkpoint.model, input_hw=(96, 96)))
    with pytest.raises(CheckpointError, match=r"b\.pth: is another network than .*a\.pth"):
        averaged([tmp_path / "a.pth", tmp_path / "b.pth"], [checkpoint, other])
