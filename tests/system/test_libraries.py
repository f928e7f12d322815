"""Libraries that cannot be loaded give one line with what is missing and what to install, in every command."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mmpnet.console import command
from mmpnet.system import libraries
from mmpnet.system.libraries import EITHER_OPENCV, crash, explain, explain_import, probe, rivalry

XCB = "raise ImportError('libxcb.so.1: cannot open shared object file: No such file or directory', name='cv2')"
ENTRIES = {
    "run": "mmpnet.cli.entry",
    "info": "mmpnet.cli.entry",
    "bench": "mmpnet.cli.entry",
    "val": "mmpnet.train.cli.entry",
    "train": "mmpnet.train.cli.entry",
    "export": "mmpnet.export.entry",
}
KILLED = f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})"


def started(
    code: str, arguments: list[str], folder: Path, modules: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run Python code with these modules in place of the installed ones."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "opencv", "message"),
    [(name, XCB, "OpenCV cannot be loaded: libxcb.so.1 is missing; apt-get install libgl1") for name in ENTRIES]
    + [
        ("run", "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')", "OpenCV is not installed; pip"),
        ("run", "", "OpenCV is incomplete, as if one of two packages of it was uninstalled; pip uninstall"),
        ("info", "", "OpenCV is incomplete"),
    ],
)
def test_a_command_without_opencv_is_one_line(name: str, opencv: str, message: str, tmp_path: Path) -> None:
    # The help of these two needs no library.
    arguments = {"train": ["--data", "absent"], "run": ["--self-test"]}.get(name, ["-h"])
    done = started(f"import {ENTRIES[name]} as entry; entry.{name}()", arguments, tmp_path, {"cv2": opencv})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "mmpnet[headless]" in line


@pytest.mark.parametrize(
    ("modules", "faults"),
    [
        ({"cv2": XCB}, ["OpenCV cannot be loaded: libxcb.so.1 is missing"]),
        ({"cv2": ""}, ["OpenCV is incomplete"]),
        ({"onnxruntime": KILLED}, ["ONNX Runtime cannot be loaded: Python was ended by SIGILL"]),
        (
            {"cv2": KILLED, "onnxruntime": "raise ImportError('numpy.core.multiarray failed to import')"},
            ["OpenCV cannot be loaded: Python was", "ONNX Runtime cannot be loaded (ImportError: numpy.core"],
        ),
        ({"numpy": "import absent_part"}, ["numpy cannot be loaded (ModuleNotFoundError: No module", "OpenCV cannot"]),
    ],
)
def test_the_doctor_outlives_every_library(modules: dict[str, str], faults: list[str], tmp_path: Path) -> None:
    done = started("from mmpnet.cli.entry import doctor; doctor()", ["--no-cameras"], tmp_path, modules)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "processor" in done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith("does not work: ")]
    assert all(line.startswith(f"does not work: {fault}") for line, fault in zip(said, faults, strict=False))
    assert len(said) >= len(faults)


def test_help_of_the_doctor_needs_no_library(tmp_path: Path) -> None:
    broken = {"cv2": XCB, "onnxruntime": KILLED, "numpy": KILLED}
    done = started("from mmpnet.cli.entry import doctor; doctor()", ["-h"], tmp_path, broken)
    assert done.returncode == 0
    assert "--no-cameras" in done.stdout


def test_a_fault_of_mmpnet_itself_is_not_explained_away(tmp_path: Path) -> None:
    code = "from mmpnet.console.command import launch; launch('mmpnet.cli.absent', extra='cpu')"
    done = started(code, [], tmp_path, {})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_library_that_raises_oserror_is_named(tmp_path: Path) -> None:
    torch = "import ctypes; ctypes.CDLL('libabsent.so.9')"
    done = started("import mmpnet.export.entry as entry; entry.export()", ["absent.pth"], tmp_path, {"torch": torch})
    assert done.returncode == 1
    assert done.stderr == (
        "error: torch cannot be loaded: libabsent.so.9 is missing; install the package that has it, or pip install "
        "--force-reinstall torch\n"
    )


def test_a_package_that_is_not_there_is_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SystemExit) as left:
        command.launch("anything", extra="train")
    assert left.value.code == 1
    assert capsys.readouterr().err == "error: onnx is not installed; pip install 'mmpnet[train]'\n"


def test_system_libraries_of_others_are_named_by_their_packages() -> None:
    line = explain("onnxruntime", "libgomp.so.1: cannot open shared object file: No such file or directory")
    assert line == "ONNX Runtime cannot be loaded: libgomp.so.1 is missing; apt-get install libgomp1"


def test_only_errors_of_imports_are_explained() -> None:
    assert explain_import(AttributeError("'int' object has no attribute 'x'", obj=3), extra="cpu") is None
    assert explain_import(OSError("no space left on device"), extra="cpu") is None


def test_a_probe_gives_the_value_or_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe("json", "json.dumps([1])").answer == "[1]"
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(libraries, "PROBE_S", 0.2)
    assert probe("sleeps", "1").fault == "sleeps cannot be loaded: its import takes more than 0.2 s"


def test_signals_have_names() -> None:
    assert crash(-signal.SIGILL) == "was ended by SIGILL (an instruction that this processor does not have)"
    assert crash(-signal.SIGUSR1) == "was ended by SIGUSR1"
    assert crash(-64 - 30) == "was ended by 94"


@pytest.mark.parametrize(
    ("module", "wheels", "message"),
    [
        ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "pip install 'mmpnet[gpu]'"),
        ("cv2", ("opencv-python", "opencv-python-headless"), EITHER_OPENCV),
    ],
)
def test_two_wheels_of_one_module_are_reported(
    monkeypatch: pytest.MonkeyPatch, module: str, wheels: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(libraries, "installed", lambda _names: dict.fromkeys(wheels, "1.0"))
    assert rivalry(module, {wheels[0]: "1.0"}) is None
    line = rivalry(module, dict.fromkeys(wheels, "1.0"))
    assert line == (
        f"{wheels[0]} and {wheels[1]} are both installed and overwrite each other's {module}; "
        f"pip uninstall {wheels[0]} {wheels[1]}, then {message}"
    )
