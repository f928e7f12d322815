"""The MNIST-detection command at tiny settings: dataset, training and measurement in one call."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import mnist_detection
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.cli.train import app as train_app

TINY = ["--batch", "4", "--width-mult", "0.25", "--channels", "8", "--imgsz", "64", "--warmup-steps", "1"]
VOC = {"voc07_AP50": 0.5, "voc_AP50": 0.4, "AP50": 0.3}


class Commands:
    """Run mmp-train in this process, which avoids an import of torch; mmp-val is replaced by a fixed answer."""

    def __init__(self, numbers: dict[str, float]) -> None:
        self.numbers = numbers
        self.trained: list[list[str]] = []

    def call(self, script: str, arguments: list[str], **_: object) -> SimpleNamespace:
        if script == mnist_detection.VAL:
            return SimpleNamespace(returncode=0, stdout=json.dumps(self.numbers))
        self.trained.append(arguments)
        result = CliRunner().invoke(train_app, arguments)
        assert result.exit_code == 0, result.stderr
        return SimpleNamespace(returncode=result.exit_code)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    fake = Commands(dict(VOC))
    monkeypatch.setattr(mnist_detection, "call", fake.call)
    return fake


def run(mnist_folder: Path, tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    flags = [word for flag in TINY for word in ("--train-flag", flag)]
    folders = ["--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"), "--results", str(tmp_path / "results")]
    common = ["--mnist", str(mnist_folder), "--device", "cpu", "--workers", "0", *folders, *flags]
    counts = ["--train-count", "8", "--test-count", "3", "--epochs", "1"]
    result = CliRunner().invoke(mnist_detection.app, [*common, *counts, *arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_one_command_draws_trains_and_measures(mnist_folder: Path, tmp_path: Path, commands: Commands) -> None:
    code, stdout, stderr = run(mnist_folder, tmp_path, "--json")
    assert code == 0, stderr
    document = json.loads(stdout)
    assert json.loads((tmp_path / "results" / "mnist_detection.json").read_text()) == document
    assert (document["voc07_AP50"], document["voc_AP50"]) == (0.5, 0.4)
    assert document["training"]["epochs"] == 1
    assert document["train"]["recipe"]["count"] == 8
    assert document["test"]["recipe"]["count"] == 3
    assert str(tmp_path) not in stdout
    assert (tmp_path / "results" / "mnist_sample.png").is_file()
    (arguments,) = commands.trained
    assert arguments[:2] == ["--data", str(tmp_path / "data" / "train.json")]
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pth")
    assert checkpoint.train.data.val == ()  # test images must not choose the checkpoint
    assert checkpoint.model.class_names == ("background", *"0123456789")


@pytest.mark.usefixtures("commands")
def test_further_flags_win(mnist_folder: Path, tmp_path: Path) -> None:
    assert run(mnist_folder, tmp_path)[0] == 0
    assert load_checkpoint(tmp_path / "run" / "best.pth").train.loading.batch == 4


def test_own_flags_are_ones_that_mmp_train_takes(tmp_path: Path) -> None:
    flags = mnist_detection.train_flags(tmp_path / "absent.json", epochs=2, seed=3, extra=())
    result = CliRunner().invoke(train_app, flags)
    assert result.exit_code == 1  # 2 would mean an unknown flag
    assert "absent.json" in result.stderr


def test_a_second_call_continues_or_leaves_what_is_done(mnist_folder: Path, tmp_path: Path, commands: Commands) -> None:
    assert run(mnist_folder, tmp_path)[0] == 0
    code, _, stderr = run(mnist_folder, tmp_path, "--epochs", "5", "--json")
    assert code == 0
    assert "trained already" in stderr
    assert len(commands.trained) == 1
    # The result states how the weights were trained, not the options of the last call.
    assert json.loads((tmp_path / "results" / "mnist_detection.json").read_text())["training"]["epochs"] == 1


def test_an_unfinished_run_is_resumed(mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    train = SimpleNamespace(schedule=SimpleNamespace(epochs=4))
    stopped = SimpleNamespace(progress=SimpleNamespace(epoch=1), train=train)
    monkeypatch.setattr(mnist_detection, "load_checkpoint", lambda _: stopped)

    def stop(_: str, arguments: list[str]) -> SimpleNamespace:
        asked.append(arguments)
        return SimpleNamespace(returncode=130)

    monkeypatch.setattr(mnist_detection, "call", stop)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pth").touch()
    code, _, stderr = run(mnist_folder, tmp_path)
    assert code == 130
    assert "the same command goes on" in stderr
    assert asked[0] == ["--resume", str(tmp_path / "run"), "--device", "cpu", "--workers", "0"]


@pytest.mark.parametrize("missing", ["voc07_AP50", "voc_AP50"])
def test_without_voc_ap_it_fails_and_writes_no_result(
    mnist_folder: Path, tmp_path: Path, commands: Commands, missing: str
) -> None:
    del commands.numbers[missing]
    code, stdout, stderr = run(mnist_folder, tmp_path, "--json")
    assert (code, stdout) == (1, "")
    assert missing in stderr
    assert not (tmp_path / "results" / "mnist_detection.json").exists()


@pytest.mark.usefixtures("commands")
def test_weights_of_other_images_are_not_measured(mnist_folder: Path, tmp_path: Path) -> None:
    assert run(mnist_folder, tmp_path)[0] == 0
    code, _, stderr = run(mnist_folder, tmp_path, "--data", str(tmp_path / "other"), "--seed", "5")
    assert code == 1
    assert "learned from other images" in stderr


def test_a_failed_training_is_reported(mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_detection, "call", lambda *_, **__: SimpleNamespace(returncode=1))
    code, _, stderr = run(mnist_folder, tmp_path)
    assert code == 1
    assert "mmp-train ended with exit code 1" in stderr


def test_a_folder_without_mnist_is_one_line(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, tmp_path)
    assert code == 1
    assert "train-images-idx3-ubyte" in stderr
