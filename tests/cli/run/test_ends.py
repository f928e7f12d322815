"""However mmp-run ends, its output is usable: after signals, kills, full disks and closed readers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.frames import read_video, write_video

MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")


@pytest.fixture
def endless(tmp_path: Path, tiny_onnx: Path) -> list[str]:
    """mmp-run over a video that repeats endlessly."""
    video = write_video(tmp_path / "in.avi", count=20, size_hw=(480, 640))
    return [*MMP_RUN, str(tiny_onnx), "--source", str(video), "--loop", "--no-show", "--threads", "1"]


def begun(command: Sequence[str], ndjson: Path, **options: Any) -> "subprocess.Popen[str]":
    """The command, after it has written 40 lines of NDJSON."""
    running = subprocess.Popen([*command, "--json", str(ndjson)], stderr=subprocess.PIPE, text=True, **options)
    until = time.monotonic() + 60
    while not ndjson.exists() or len(ndjson.read_text().splitlines()) < 40:
        assert time.monotonic() < until
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_finished_files_and_a_summary(
    tmp_path: Path, endless: list[str], number: signal.Signals
) -> None:
    ndjson, out = tmp_path / "out.ndjson", tmp_path / "out.mp4"
    # Under nohup, the child processes of the tests would inherit that SIGHUP is ignored.
    unignored = partial(signal.signal, number, signal.SIG_DFL)
    running = begun([*endless, "--save", str(out)], ndjson, preexec_fn=unignored)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    frames = [json.loads(line)["frame"] for line in ndjson.read_text().splitlines()]
    assert frames == list(range(len(frames)))
    assert len(read_video(out)) == len(frames)
    assert f"detections in {len(frames)} frames" in stderr
    assert f"saved {out}" in stderr.replace("\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_files_that_were_not_read_to_their_end_are_reported(
    tmp_path: Path, tiny_onnx: Path, number: signal.Signals
) -> None:
    video = write_video(tmp_path / "in.avi", count=20, size_hw=(480, 640))
    sources = [word for _ in range(60) for word in ("--source", str(video))]
    command = [*MMP_RUN, str(tiny_onnx), *sources, "--no-show", "--threads", "1"]
    running = begun(command, tmp_path / "out.ndjson")
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130, stderr
    assert "stopped before the end of the files" in stderr
    assert "detections in" in stderr


def test_a_killed_run_leaves_whole_lines_and_a_readable_video(tmp_path: Path, endless: list[str]) -> None:
    ndjson, out = tmp_path / "out.ndjson", tmp_path / "out.avi"
    running = begun([*endless, "--save", str(out)], ndjson)
    running.kill()
    running.communicate(timeout=60)
    # SIGKILL may end a write between two pages of memory, so the kernel can cut the line that was being written. Only
    # that line has no newline.
    *lines, _ = ndjson.read_text().split("\n")
    assert len(lines) >= 40
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    (left,) = tmp_path.glob("out.partial-*.avi")
    assert len(read_video(left)) >= len(lines) // 2


def test_a_reader_that_leaves_ends_the_run(endless: list[str]) -> None:
    running = subprocess.Popen([*endless, "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["frame"] == 0
    running.stdout.close()
    assert running.stderr is not None
    stderr = running.stderr.read()
    assert running.wait(timeout=60) == 0, stderr
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize("conf", ["0.3", "1"], ids=["long lines", "short lines"])
def test_a_full_disk_is_one_line(endless: list[str], conf: str) -> None:
    command = [*endless, "--json", "/dev/full", "--conf", conf]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == [
        "error: /dev/full: NDJSON cannot be written (No space left on device); free space, or choose another place"
    ]
    assert "Traceback" not in done.stderr


def test_a_model_file_may_be_replaced_while_it_runs(tmp_path: Path, tiny_onnx: Path, endless: list[str]) -> None:
    model, ndjson = tmp_path / "model.onnx", tmp_path / "out.ndjson"
    shutil.copy(tiny_onnx, model)
    running = begun([str(model) if word == str(tiny_onnx) else word for word in endless], ndjson)
    (tmp_path / "new.onnx").write_bytes(b"another version")
    os.replace(tmp_path / "new.onnx", model)  # noqa: PTH105
    before = len(ndjson.read_text().splitlines())
    until = time.monotonic() + 60
    while len(ndjson.read_text().splitlines()) < before + 40:
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    first, *_, last = (json.loads(line) for line in ndjson.read_text().splitlines()[::20])
    assert first["detections"] == last["detections"], "the same frame of the loop, by the same model"


def test_a_limit_ends_the_run(tmp_path: Path, endless: list[str]) -> None:
    ndjson = tmp_path / "out.ndjson"
    command = [*endless, "--limit", "27", "--vid-stride", "3", "--json", str(ndjson)]
    assert subprocess.run(command, timeout=60, check=False, capture_output=True).returncode == 0
    assert len(ndjson.read_text().splitlines()) == 27


def test_a_source_is_not_written_over(tmp_path: Path, endless: list[str]) -> None:
    source = tmp_path / "in.avi"
    content = source.read_bytes()
    done = subprocess.run([*endless, "--json", str(source)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is also a source" in done.stderr
    assert source.read_bytes() == content
