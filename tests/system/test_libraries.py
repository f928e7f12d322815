"""Libraries that cannot be loaded give one line with what is missing and what to install, in every command."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import tomllib
import typer

from make_reference import APPS
from mmpnet.console import command
from mmpnet.system import libraries
from mmpnet.system.libraries import EITHER_OPENCV, crash, explain, explain_import, probe, rivalry

XCB = "raise ImportError('libxcb.so.1: cannot open shared object file: No such file or directory', name='cv2')"
SCRIPTS: dict[str, str] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "scripts"
]
WORK = {
    "mmp-run": ["--self-test"],
    "mmp-info": [],
    "mmp-bench run": [],
    "mmp-bench compare": ["a", "b"],
    "mmp-bench layers": [],
    "mmp-bench search": ["a.onnx", "--target-ms", "1", "--data", "absent"],
    "mmp-archive run": ["absent.mp4", "-o", "out"],
    "mmp-archive query": ["absent", "track = 1"],
    "mmp-archive report": ["absent"],
    "mmp-val": ["a.onnx", "--data", "absent"],
    "mmp-train": ["--data", "absent"],
    "mmp-adapt": ["--data", "absent", "-o", "a.onnx"],
    "mmp-collect": ["absent.mp4", "-o", "out"],
    "mmp-export": ["absent.pth"],
}
"""Arguments with which each command starts to work, and so loads its libraries; mmp-doctor is tested by itself."""
ABSENT = "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')"
INTERRUPT = f"import os, time; os.kill(os.getpid(), {int(signal.SIGINT)}); time.sleep(60)"
AS_PYBIND11 = f"""
try:
    {INTERRUPT}
except KeyboardInterrupt as stop:
    raise ImportError("initialization failed") from stop
"""
KILLED = f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})"


def started(
    code: str, arguments: list[str], folder: Path, modules: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run Python code with these modules in place of the installed ones."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    path = os.pathsep.join([str(folder), *(one for one in sys.path if one)])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def at_work(words: str, folder: Path, modules: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Start the work of an installed command with these modules in place of the installed ones."""
    name, *subcommand = words.split()
    module, _, function = SCRIPTS[name].partition(":")
    code = f"from {module} import {function}; {function}()"
    return started(code, [*subcommand, *WORK[words]], folder, modules)


def test_every_command_is_started() -> None:
    subcommands = {name: getattr(typer.main.get_command(app), "commands", None) for name, app in APPS.items()}
    every = {f"{name} {word}".rstrip() for name, words in subcommands.items() for word in words or ("",)}
    assert set(WORK) == every - {"mmp-doctor"}


@pytest.mark.parametrize(
    ("words", "opencv", "message"),
    [
        *((words, XCB, "OpenCV cannot be loaded: libxcb.so.1 is missing; apt-get install libgl1") for words in WORK),
        ("mmp-run", ABSENT, "OpenCV is not installed; pip"),
        ("mmp-archive query", ABSENT, "OpenCV is not installed; pip"),
        ("mmp-run", "", "OpenCV is incomplete, as if one of two packages of it was uninstalled; pip uninstall"),
        ("mmp-info", "", "OpenCV is incomplete"),
        ("mmp-archive report", "", "OpenCV is incomplete"),
    ],
)
def test_a_command_without_opencv_is_one_line(words: str, opencv: str, message: str, tmp_path: Path) -> None:
    done = at_work(words, tmp_path, {"cv2": opencv})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "mmpnet[headless]" in line


@pytest.mark.parametrize("words", WORK)
def test_ctrl_c_while_libraries_load_is_one_line(words: str, tmp_path: Path) -> None:
    done = at_work(words, tmp_path, {"numpy": INTERRUPT})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_ctrl_c_is_no_broken_library(tmp_path: Path) -> None:
    """Whoever stops ONNX Runtime's import is not told to install it again."""
    done = at_work("mmp-info", tmp_path, {"onnxruntime": AS_PYBIND11})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize(
    "fault",
    [
        "AttributeError('module has no attribute x')",
        "ValueError('numpy.dtype size changed')",
        "RuntimeError('it is loaded twice')",
    ],
)
def test_a_library_that_raises_anything_is_named(fault: str, tmp_path: Path) -> None:
    done = at_work("mmp-info", tmp_path, {"onnxruntime": f"raise {fault}"})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert re.match("error: ONNX Runtime (is incomplete|cannot be loaded)", line)


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
    source = {"__name__": "mmpnet.example"}
    with pytest.raises(json.JSONDecodeError) as raised:
        exec("import json; json.loads('{')", source)
    assert explain_import(raised.value, extra="cpu") is None, "a module of Python itself is not broken"


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
