"""No command connects to the network, and none writes a file that was not requested."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tomllib
import typer

from make_reference import APPS
from mmpnet.media.images import read_image, write_image
from mmpnet.runtime import Detector
from support.archives import Archive, settings_with
from support.coco_writer import write_coco
from support.connection_watch import ConnectionWatch, nothing, this_machine

ENTRIES: dict[str, str] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "scripts"
]
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
    "bench": ("mmp-bench run {model} --duration 0.05 --repeats 1 --warm-up 0 --cold-starts 1", ()),
    "compare": ("mmp-bench compare {model} {model}@threads=2 --pairs 10", ()),
    "bench-layers": ("mmp-bench layers {model} --plot l.svg", ("l.svg",)),
    "search": (
        "mmp-bench search {model} --data {data} --target-ms 1000 --out s",
        ("s",),
    ),
    "val": ("mmp-val {model} --data {data} --report r.html", ("r.html",)),
    "collect": ("mmp-collect {model} {video} -o c --no-track", ("c",)),
    "train": (f"mmp-train --data {{data}} {TINY} --epochs 1 --project p --name n", ("p",)),
    "compile": (f"mmp-train --data {{data}} {TINY} --epochs 1 --project p --name n --compile", ("p",)),
    "export": ("mmp-export {checkpoint} -o e.onnx", ("e.onnx",)),
    "int8": (
        "mmp-export person-320 -o e.onnx --imgsz 224 --int8 always --calib {people} --verify {people}",
        ("e.onnx",),
    ),
    "half": ("mmp-export {checkpoint} -o e.onnx --half", ("e.onnx",)),
    "adapt": (
        "mmp-adapt --data {labeled} --model {model} --weights none --minutes 0.1 -o a.onnx",
        ("a.work",),
    ),
    "archive": ("mmp-archive run {video} -o a --model {model} --workers 1", ("a",)),
    "archive-query": ("mmp-archive query {archive} score>0.5", ()),
    "archive-report": ("mmp-archive report {archive} -o r.html", ("r.html",)),
}
LEAVES_COMPILED_CODE = ("compile",)
"""Torch keeps what it has compiled for the next run, in one folder of the temporary folder."""
TALKS_TO_ITSELF = ("adapt", "archive")
"""Processes that load images hand them over by local sockets in the temporary folder; Ray's use loopback addresses."""
NOT_PROVEN_BETTER = 3
EXIT_CODES = {"adapt": NOT_PROVEN_BETTER}
END_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Watched:
    """The result of a command, where it tried to connect, the files in its folders, and those that it opened elsewhere.

    all_ended: no process of it runs on.
    """

    returncode: int
    stderr: str
    refused: list[str]
    written: set[str]
    in_home: list[str]
    in_temporary: list[str]
    elsewhere: str
    all_ended: bool = True


NOTHING = Watched(0, "", [], set(), [], [], "")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a path that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="m-", dir="/tmp") as folder:
        yield Path(folder)


def watched(
    code: str, arguments: list[str], folder: Path, temporary: Path, *, permitted: Callable[[str], bool] = nothing
) -> Watched:
    """Run Python code in new working and home folders, and tell what it and its child processes did."""
    places = [folder / "work", folder / "home", temporary]
    for place in places[:2]:
        place.mkdir()
    ours, theirs = socket.socketpair()
    environment = {
        "PATH": os.environ["PATH"],
        "LOGNAME": "somebody",  # otherwise torch asks the name service for it, over a local socket
        "HOME": str(places[1]),
        "TMPDIR": str(temporary),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("watched")), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "WATCHED_FOLDERS": os.pathsep.join(map(str, places)),
        "WATCHED_RECORD": str(folder / "record"),
        "WATCHED_SOCKET": str(theirs.fileno()),
    }
    watch = ConnectionWatch(platform.machine(), permitted)
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=places[0],
        env=environment,
        pass_fds=[theirs.fileno()],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("wb"),
    ) as process:
        with ours, theirs:
            watch.start(socket.recv_fds(ours, 1, 1)[1][0])
        process.wait()
        all_ended = watch.all_ended(END_TIMEOUT_S)
    return Watched(
        process.returncode,
        (folder / "stderr").read_text(),
        watch.refused,
        {path.name for path in places[0].iterdir()},
        sorted(path.name for path in places[1].rglob("*")),
        sorted(path.name for path in temporary.rglob("*")),
        (folder / "record").read_text(),
        all_ended,
    )


def write_video(path: Path) -> Path:
    """Six gray frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(6):
        writer.write(np.full((48, 64, 3), 40 * shade, np.uint8))
    writer.release()
    return path


def subcommands() -> Iterator[str]:
    """Each command, or each subcommand of one that has some."""
    for name, app in APPS.items():
        top: Any = typer.main.get_command(app)
        yield from (f"{name} {one}" for one in top.commands) if hasattr(top, "commands") else (name,)


@pytest.fixture(scope="session")
def labeled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one camera with labels. Read only."""
    return write_coco(tmp_path_factory.mktemp("labeled") / "labels.json", count=60, seed=5).parent


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of a person, with the box that the shipped model finds, so that int8 can be compared. Read only."""
    folder = tmp_path_factory.mktemp("people")
    image = read_image(Path(__file__).parents[2] / "docs" / "images" / "astronaut.jpg")
    detector = Detector("person-320", provider="cpu")
    images, boxes = [], []
    for number in range(1, 5):
        part = np.ascontiguousarray(image[:, 8 * number :])
        write_image(folder / f"{number}.png", part)
        x1, y1, x2, y2 = detector(part).xyxy[0].tolist()
        images.append({"id": number, "file_name": f"{number}.png", "height": part.shape[0], "width": part.shape[1]})
        boxes.append({"id": number, "image_id": number, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    document = {"categories": [{"id": 1, "name": "person"}], "images": images, "annotations": boxes}
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def archive_folder(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> Path:
    """Results of mmp-archive. Read only."""
    folder = tmp_path_factory.mktemp("archive")
    video = write_video(folder / "v.avi")
    Archive(tiny_onnx, settings_with(tiny_onnx)).run(folder / "out", video)
    return folder / "out"


def test_every_command_is_watched() -> None:
    lines = [line for line, _ in COMMANDS.values()]
    assert set(APPS) == set(ENTRIES)
    assert {line.split()[0] for line in lines} == set(ENTRIES)
    missing = [one for one in subcommands() if not any(f"{line} ".startswith(f"{one} ") for line in lines)]
    assert missing == []


def test_the_watch_kills_what_connects(tmp_path: Path, temporary: Path) -> None:
    found = watched("import socket; socket.create_connection(('127.0.0.1', 9))", [], tmp_path, temporary)
    assert (found.returncode, found.refused) == (-signal.SIGSYS, ["127.0.0.1"])


SENDERS = {
    "connect": "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((a, 9))",
    "sendto": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (a, 9))",
    "sendmsg": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, (a, 9))",
    "IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('::ffff:' + a, 9))",
}


@pytest.mark.parametrize("code", SENDERS.values(), ids=SENDERS)
@pytest.mark.parametrize(("address", "code_expected"), [("127.0.0.1", 0), ("192.0.2.1", -signal.SIGSYS)])
def test_the_watch_permits_this_machine_and_no_other(
    tmp_path: Path, temporary: Path, address: str, code_expected: int, code: str
) -> None:
    permitted = this_machine(temporary)
    found = watched(f"import socket; a = {address!r}; {code}", [], tmp_path, temporary, permitted=permitted)
    assert found.returncode == code_expected, found.stderr
    assert found.refused == ([address] if code_expected else [])


def test_the_watch_permits_local_sockets_in_one_folder(tmp_path: Path, temporary: Path) -> None:
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for number, (folder, expected) in enumerate(((temporary, 1), (tmp_path, -signal.SIGSYS))):
        place = tmp_path / str(number)
        place.mkdir()
        permitted = this_machine(temporary)
        assert watched(code, [str(folder / "s")], place, temporary, permitted=permitted).returncode == expected


def test_the_watch_reaches_children(tmp_path: Path, temporary: Path) -> None:
    child = "import socket; socket.getaddrinfo('example.org', 80)"
    code = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode != -31)"
    found = watched(code, [], tmp_path, temporary)
    assert found.returncode == 0
    assert found.refused


def test_the_watch_sees_processes_that_run_on(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "END_TIMEOUT_S", 0.1)
    code = "import subprocess; print(subprocess.Popen(['sleep', '5'], stderr=subprocess.DEVNULL).pid)"
    assert not watched(code, [], tmp_path, temporary).all_ended


def test_the_watch_sees_files(tmp_path: Path, temporary: Path) -> None:
    code = "import pathlib, sys; pathlib.Path.home().joinpath('a').touch(); pathlib.Path(sys.argv[1]).touch()"
    found = watched(code, [str(tmp_path / "outside")], tmp_path, temporary)
    assert found.in_home == ["a"]
    assert found.elsewhere == f"open {tmp_path / 'outside'}\n"


def test_the_library_does_not_report_either(tmp_path: Path, temporary: Path, tiny_onnx: Path) -> None:
    code = "import sys; from mmpnet.runtime import Detector; Detector(sys.argv[1])"
    assert watched(code, [str(tiny_onnx)], tmp_path, temporary) == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_connects_to_nothing_and_writes_what_was_requested(
    name: str,
    tmp_path: Path,
    temporary: Path,
    dataset_folder: Path,
    labeled_folder: Path,
    archive_folder: Path,
    people_folder: Path,
    tiny_onnx: Path,
    tiny_checkpoint: Path,
) -> None:
    line, named = COMMANDS[name]
    places = {
        "model": tiny_onnx,
        "checkpoint": tiny_checkpoint,
        "data": dataset_folder,
        "labeled": labeled_folder,
        "people": people_folder,
        "archive": shutil.copytree(archive_folder, tmp_path / "archive"),
        "image": dataset_folder / "images" / "val_001.png",
        "video": write_video(tmp_path / "v.avi"),
    }
    command, *arguments = line.format(**places).split()
    module, function = ENTRIES[command].split(":")
    found = watched(
        f"import {module} as entry; entry.{function}()",
        arguments,
        tmp_path,
        temporary,
        permitted=this_machine(temporary) if name in TALKS_TO_ITSELF else nothing,
    )
    assert found.returncode == EXIT_CODES.get(name, 0), found
    if name in LEAVES_COMPILED_CODE:
        assert [path.name for path in temporary.iterdir()] == ["torchinductor_somebody"]
        found.in_temporary.clear()
    expected = Watched(found.returncode, found.stderr, [], set(named), [], [], "")
    assert found == expected
