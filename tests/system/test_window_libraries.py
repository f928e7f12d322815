"""System libraries that OpenCV with windows needs."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from mmpnet.system import window_libraries


def test_what_does_not_load_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        if name.startswith(("libxcb", "libGL")):
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sys, "platform", "linux")
    assert window_libraries.missing_window_libraries() == ["libxcb.so.1", "libGL.so.1"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert window_libraries.missing_window_libraries() == []


def test_the_makefile_takes_the_wheel_that_loads() -> None:
    root = Path(window_libraries.__file__).parents[3]
    bare = subprocess.run(
        ["make", "-n", "demo", "MISSING=libxcb.so.1", "VENV=no-such-folder"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "installing mmpnet[headless] without windows: this machine lacks libxcb.so.1" in bare
    assert "-e '.[headless]'" in bare


def test_it_runs_before_anything_is_installed() -> None:
    command = [sys.executable, "-I", "-S", window_libraries.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(window_libraries.WINDOW_LIBRARIES)
