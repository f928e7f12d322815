"""Failed exports: one clear line, and a file that existed before stays."""

import errno
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mmpnet.export import writer
from mmpnet.export.cli.command import app

BEFORE = b"older file"


def export(checkpoint: Path, out: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(checkpoint), "-o", str(out), *arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stderr


def only_error(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, stderr
    return lines[0]


def pickled_list(path: Path, _: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2, 3]))


def foreign_tensors(path: Path, _: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def pickled_code(path: Path, _: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2)}, path)


def truncated(path: Path, good: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("make", [pickled_list, foreign_tensors, pickled_code, truncated, emptied])
def test_a_bad_checkpoint_is_one_line_and_the_old_file_stays(
    tiny_checkpoint: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    make(tmp_path / "bad.pth", tiny_checkpoint)
    out = tmp_path / "m.onnx"
    out.write_bytes(BEFORE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # A warning of torch would be a second line.
        code, stderr = export(tmp_path / "bad.pth", out)
    assert code == 1
    assert "bad.pth" in only_error(stderr)
    assert out.read_bytes() == BEFORE


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--imgsz", "100"], 1, "multiples of the stride"),
        (["--imgsz", "64x100"], 1, "choose another --imgsz"),
        (["--opset", "99"], 2, "--opset"),
        (["--opset", "12", "--nms"], 2, "--int8 need 13 or more"),
    ],
)
def test_impossible_options_leave_the_old_file(
    tiny_checkpoint: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    out = tmp_path / "m.onnx"
    out.write_bytes(BEFORE)
    found, stderr = export(tiny_checkpoint, out, *arguments)
    assert found == code
    assert message in stderr
    assert out.read_bytes() == BEFORE


def test_a_target_below_a_file_is_one_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BEFORE)
    code, stderr = export(tiny_checkpoint, tmp_path / "file" / "m.onnx")
    assert code == 1
    assert "its folder is a file; choose another" in only_error(stderr)


def test_a_full_disk_is_one_line_and_leaves_no_partial_file(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "m.onnx"
    out.write_bytes(BEFORE)
    monkeypatch.setattr(Path, "write_bytes", full)
    code, stderr = export(tiny_checkpoint, out)
    assert code == 1
    assert "No space left" in only_error(stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_bytes() == BEFORE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["compare", "run_self_test"])
def test_a_stop_signal_leaves_the_old_file(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: signal.Signals
) -> None:
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(writer, where, stop)
    out = tmp_path / "m.onnx"
    out.write_bytes(BEFORE)
    code, stderr = export(tiny_checkpoint, out)
    assert code == 130
    assert "stopped" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_bytes() == BEFORE


def test_older_operator_sets_still_export(tiny_checkpoint: Path, tmp_path: Path) -> None:
    code, stderr = export(tiny_checkpoint, tmp_path / "m.onnx", "--opset", "11")
    assert code == 0, stderr
    assert "ONNX Runtime 1.0 and up" in stderr
