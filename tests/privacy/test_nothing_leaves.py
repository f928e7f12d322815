"""No command connects to the network, and none writes a file that was not requested."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

ENTRIES = {
    "mmp-run": "mmpnet.cli.entry:run",
    "mmp-info": "mmpnet.cli.entry:info",
    "mmp-doctor": "mmpnet.cli.entry:doctor",
    "mmp-bench": "mmpnet.cli.entry:bench",
    "mmp-val": "mmpnet.train.cli.entry:val",
    "mmp-train": "mmpnet.train.cli.entry:train",
    "mmp-collect": "mmpnet.train.cli.entry:collect",
    "mmp-export": "mmpnet.export.entry:export",
}
TINY = "--weights none --imgsz 64 --width-mult 0.25 --channels 16 --batch 4 --device cpu --workers 0 --warmup-steps 1"
COUNTED = "--track --line 50%,0,50%,100% --zone 0,0,50%,0,50%,100%,0,100%"
COMMANDS = {
    "help": ("mmp-run --help", ()),
    "image": (
        "mmp-run {model} --source {image} --save o.jpg --save-crops crops --json o.ndjson",
        ("o.jpg", "crops", "o.ndjson"),
    ),
    "video": (
        f"mmp-run {{model}} --source {{video}} --save o.mkv --serve 127.0.0.1:0 {COUNTED} --blur --no-show",
        ("o.mkv",),
    ),
    "self-test": ("mmp-run --self-test", ()),
    "info": ("mmp-info", ()),
    "layers": ("mmp-info {model} --layers", ()),
    "doctor": ("mmp-doctor person-224-int8 --no-cameras", ()),
    "bench": ("mmp-bench {model} --duration 0.05 --repeats 1 --warm-up 0 --cold-starts 1", ()),
    "compare": ("mmp-bench compare {model} {model}@threads=2 --pairs 10", ()),
    "bench-layers": ("mmp-bench layers {model} --plot l.svg", ("l.svg",)),
    "search": (
        "mmp-bench search {model} --data {data} --target-ms 1000 --out s",
        ("s",),
    ),
    "val": ("mmp-val {model} --data {data} --report r.html", ("r.html",)),
    "collect": ("mmp-collect {model} {video} -o c --no-track", ("c",)),
    "train": (f"mmp-train --data {{data}} {TINY} --epochs 1 --project p --name n", ("p",)),
    "export": ("mmp-export {checkpoint} -o e.onnx", ("e.onnx",)),
    "half": ("mmp-export {checkpoint} -o e.onnx --half", ("e.onnx",)),
}


@dataclass(frozen=True)
class Watched:
    """The result of a command, the files in its three folders, and files that it opened for writing elsewhere."""

    returncode: int
    stderr: str
    written: set[str]
    in_home: list[str]
    in_temporary: list[str]
    elsewhere: str


def watched(code: str, arguments: list[str], folder: Path, **changes: str) -> Watched:
    """Run Python code in new working, home and temporary folders."""
    places = {name: folder / name for name in ("work", "home", "temporary")}
    for place in places.values():
        place.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "LOGNAME": "somebody",  # otherwise torch asks the name service for it, over a local socket
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "PYTHONPATH": str(Path(__file__).with_name("watched")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "WATCHED_FOLDERS": os.pathsep.join(map(str, places.values())),
        "WATCHED_RECORD": str(folder / "record"),
        **changes,
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=places["work"], env=environment, capture_output=True, text=True, check=False)
    return Watched(
        done.returncode,
        done.stderr,
        {path.name for path in places["work"].iterdir()},
        sorted(path.name for path in places["home"].rglob("*")),
        sorted(path.name for path in places["temporary"].rglob("*")),
        (folder / "record").read_text(),
    )


def write_video(path: Path) -> Path:
    """Six gray frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(6):
        writer.write(np.full((48, 64, 3), 40 * shade, np.uint8))
    writer.release()
    return path


def test_the_watch_kills_what_connects(tmp_path: Path) -> None:
    found = watched("import socket; socket.create_connection(('127.0.0.1', 9))", [], tmp_path)
    assert found.returncode == -signal.SIGSYS


def test_the_watch_reaches_children(tmp_path: Path) -> None:
    child = "import socket; socket.getaddrinfo('example.org', 80)"
    code = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode != -31)"
    assert watched(code, [], tmp_path).returncode == 0


def test_the_watch_sees_files(tmp_path: Path) -> None:
    code = "import pathlib, sys; pathlib.Path.home().joinpath('a').touch(); pathlib.Path(sys.argv[1]).touch()"
    found = watched(code, [str(tmp_path / "outside")], tmp_path)
    assert found.in_home == ["a"]
    assert found.elsewhere == f"open {tmp_path / 'outside'}\n"


def test_the_library_does_not_report_either(tmp_path: Path, tiny_onnx: Path) -> None:
    code = "import sys; from mmpnet.runtime import Detector; Detector(sys.argv[1])"
    found = watched(code, [str(tiny_onnx)], tmp_path)
    assert found == Watched(0, "", set(), [], [], "")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_connects_to_nothing_and_writes_what_was_requested(
    name: str, tmp_path: Path, dataset_folder: Path, tiny_onnx: Path, tiny_checkpoint: Path
) -> None:
    line, named = COMMANDS[name]
    places = {
        "model": tiny_onnx,
        "checkpoint": tiny_checkpoint,
        "data": dataset_folder,
        "image": dataset_folder / "images" / "val_001.png",
        "video": write_video(tmp_path / "v.avi"),
    }
    command, *arguments = line.format(**places).split()
    module, function = ENTRIES[command].split(":")
    found = watched(f"import {module} as entry; entry.{function}()", arguments, tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.written == set(named)
    assert found.in_home == []
    assert found.in_temporary == []
    assert found.elsewhere == ""
