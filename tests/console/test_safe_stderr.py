"""Messages may be lost; the work continues, and its files are complete."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import track

from mmpnet.console.command import console
from support.frames import read_video, write_video

MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize("redirected", ["2> /dev/full", "2>&-", "2> left"])
def test_a_run_outlives_the_readers_of_its_messages(tmp_path: Path, tiny_onnx: Path, redirected: str) -> None:
    video, out, ndjson = write_video(tmp_path / "in.avi", count=6), tmp_path / "out.avi", tmp_path / "out.ndjson"
    options = ["--source", str(video), "--save", str(out), "--json", str(ndjson), "--threads", "1"]
    shell = 'exec "$@" ' + redirected
    if redirected == "2> left":  # the pipe is closed before the first message
        shell = "mkfifo left; (exec 3< left; : > gone) & exec 4> left; while [ ! -e gone ]; do sleep 0.01; done; "
        shell += 'sleep 0.05; exec "$@" 2>&4'
    command = ["sh", "-c", shell, "sh", *MMP_RUN, str(tiny_onnx), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert len(read_video(out)) == len(ndjson.read_text().splitlines()) == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_mistake_keeps_its_exit_code_if_stderr_is_closed(tiny_onnx: Path) -> None:
    command = ["sh", "-c", 'exec "$@" 2> /dev/full', "sh", *MMP_RUN, str(tiny_onnx), "--source", "gone.jpg"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 1


class Terminal(io.StringIO):
    """Replaces a stderr that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_known_and_a_progress_bar_lets_others_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TTY_COMPATIBLE", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = console()
    assert shown.is_terminal
    assert shown.encoding == "utf-8"
    for step in track(range(2), description="counting", console=shown):
        sys.stderr.write(f"step {step}\n")  # while rich shows a bar, this is rich's own stream
    assert sys.stderr is terminal
    assert "step 0\n" in terminal.getvalue().replace("\r", "")
    assert "counting" in terminal.getvalue()


def test_a_stream_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        tries = 0

        def write(self, _text: str) -> int:
            self.tries += 1
            raise OSError(28, "No space left on device")

    full = Full()
    monkeypatch.setattr(sys, "stderr", full)
    shown = console()
    for _ in range(3):
        shown.print("a word")
    assert full.tries == 1
