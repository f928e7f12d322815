"""Feature teachers: the right maps are found, the loss is a correlation, and a run learns from it and resumes."""

import math
import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mmpnet.contract.errors import TrainingError
from mmpnet.evaluation.peers.family import MEAN_BGR, STD_BGR
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.distillation.feature_maps import FeatureLoss, FeatureTeacher
from mmpnet.train.engine.train_step import StepLosses, TrainStep
from mmpnet.train.loading.loader import Batch
from mmpnet.train.run.start import resume_run, start_run
from support.peer_files import SIDE, write_rtmdet, write_rtmdet_with_maps
from support.train_configs import changed


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_rtmdet_with_maps(tmp_path / "teacher.onnx")


@pytest.fixture
def config(tiny_train_config: TrainConfig, teacher: Path) -> TrainConfig:
    return changed(tiny_train_config, feature_teacher=str(teacher))


def test_maps_are_those_that_the_head_reads(teacher: Path) -> None:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    opened = FeatureTeacher(teacher, (SIDE, SIDE))
    found = opened(torch.from_numpy(images)).numpy()
    assert opened.channels == 12
    assert found.shape == (2, 12, SIDE // 8, SIDE // 8)

    kernel = onnx.numpy_helper.to_array(onnx.load(str(teacher)).graph.initializer[0])  # (4, 3, 8, 8), of stride 8
    pixels = ((images.astype(np.float32) - MEAN_BGR) / STD_BGR).transpose(0, 3, 1, 2)
    for row, col in ((0, 0), (3, 5), (7, 7)):
        patch = pixels[:, :, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8]
        expected = np.einsum("bchw,kchw->bk", patch, kernel)
        np.testing.assert_allclose(found[:, :4, row, col], expected, atol=1e-5)
    # A cell of stride 32 covers four by four cells of stride 8.
    assert (found[:, 8:, :4, :4] == found[:, 8:, :1, :1]).all()


def test_the_loss_is_one_minus_the_mean_correlation_of_the_channels() -> None:
    torch.manual_seed(0)
    loss = FeatureLoss(3, 2)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    adapted = loss.adapter(student).detach().numpy()
    correlations = [
        np.corrcoef(adapted[:, channel].ravel(), teacher[:, channel].numpy().ravel())[0, 1] for channel in range(2)
    ]
    assert loss(student, teacher).item() == pytest.approx(1 - np.mean(correlations), abs=1e-4)
    # Scale and offset of a teacher's channels do not matter.
    assert loss(student, teacher * 7 - 3).item() == pytest.approx(1 - np.mean(correlations), abs=1e-4)


def test_a_finer_map_of_the_teacher_is_averaged() -> None:
    torch.manual_seed(0)
    loss = FeatureLoss(3, 2)
    student, fine = torch.randn(2, 3, 4, 4), torch.randn(2, 2, 8, 8)
    means = fine.reshape(2, 2, 4, 2, 4, 2).mean(dim=(3, 5))
    assert loss(student, fine).item() == pytest.approx(loss(student, means).item(), abs=1e-6)


def test_files_that_cannot_teach_are_refused_before_a_folder_is_made(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    height, width = tiny_train_config.model.input_hw
    (tmp_path / "text.onnx").write_text("no network")
    for path, message, changes in (
        (tmp_path / "missing.onnx", "no such model file", {}),
        (tmp_path / "text.onnx", "cannot load it", {}),
        (write_rtmdet(tmp_path / "constant.onnx", []), "has no maps of stride 8, 16, 32", {}),
        (write_rtmdet_with_maps(tmp_path / "one.onnx", branches=1), "has no maps of stride 8, 16, 32", {}),
        (
            write_rtmdet_with_maps(tmp_path / "fixed.onnx", side=256),
            f"takes images of 256x256 px, but the run has {height}x{width}; give --imgsz 256x256",
            {},
        ),
        (
            write_rtmdet_with_maps(tmp_path / "free.onnx"),
            "leave --multi-scale or --feature-teacher out",
            {"multi_scale": 0.5},
        ),
        (write_rtmdet_with_maps(tmp_path / "odd.onnx"), "takes multiples of 32 px", {"input_hw": (64, 72)}),
    ):
        config = changed(tiny_train_config, feature_teacher=str(path), **changes)
        with pytest.raises(TrainingError, match=message) as caught:
            start_run(config, tmp_path / "run")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_the_map_comes_to_correlate_with_the_teachers(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    forward = FeatureLoss.forward

    def noted(self: FeatureLoss, student: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        loss = forward(self, student, taught)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(FeatureLoss, "forward", noted)
    start_run(changed(config, epochs=6, lr=5e-3, val=(), mosaic=0.0), tmp_path / "run")
    quarter = len(losses) // 4
    assert quarter >= 2
    assert np.mean(losses[-quarter:]) < 0.95 * np.mean(losses[:quarter])
    assert math.isfinite(losses[-1])


def test_a_resumed_run_gives_the_weights_of_an_undisturbed_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_run(config, tmp_path / "whole")
    steps = TrainStep.__call__

    def stopping(self: TrainStep, batch: Batch) -> StepLosses:
        losses = steps(self, batch)
        os.kill(os.getpid(), signal.SIGTERM)
        return losses

    with monkeypatch.context() as patched:
        patched.setattr(TrainStep, "__call__", stopping)
        with pytest.raises(InterruptedRunError):
            start_run(config, tmp_path / "stopped")
    resume_run(tmp_path / "stopped")
    whole, resumed = (load_checkpoint(tmp_path / name / "last.pth") for name in ("whole", "stopped"))
    assert whole.provenance.feature_teacher_sha256 == resumed.provenance.feature_teacher_sha256 is not None
    assert all(torch.equal(whole.ema[name], resumed.ema[name]) for name in whole.ema)


def test_a_changed_teacher_ends_the_resumed_run(config: TrainConfig, teacher: Path, tmp_path: Path) -> None:
    start_run(changed(config, epochs=1), tmp_path / "run")
    content = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    content["train"]["schedule"]["epochs"] = 2
    torch.save(content, tmp_path / "run" / "last.pth")
    write_rtmdet_with_maps(teacher, branches=3)
    with pytest.raises(TrainingError, match=r"feature teacher .*teacher.onnx: has changed since this run started"):
        resume_run(tmp_path / "run")
