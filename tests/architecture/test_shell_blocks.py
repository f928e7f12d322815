"""Every shell and Python block of the documentation runs, or there is a reason why it does not."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmpnet.runtime.inference.embedded import model_path
from support.frames import write_video

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>sh|bash|console|python)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)
MODELS = ("model.onnx", "person.onnx", "mine.onnx", "a.onnx", "b.onnx", "other.onnx")
VIDEOS = ("street.mp4", "video.mp4")
REASONS = {
    r"--camera|\bmmp-run( person-\S+| mine\.onnx)? 0\b|/dev/video": "needs a camera",
    r"(rtsp|rtmp|tcp|udp|http|https)://[\w:@${}]*\d": "needs a camera in the network",
    r"\b(sudo|systemctl|docker|podman|usermod)\b": "changes the system, or needs a service of it",
    r"\b(pip3?|pipx|uv|npm) |git clone|python3 -m venv": "downloads packages; CI installs them in its own steps",
    r"^make [a-z]": "CI runs the make targets themselves",
    r"^\. \.venv|\bactivate\b": "the tests run in their own environment",
    r"\bmmp-bench\b": "times the machine for a minute; tests/bench runs these commands",
    r"\bmmp-train\b(?!.*--(check|pack))|runs/train|\bbest\.pth|torchrun": "trains for hours; tests/train has it",
    r"\bs3://": "needs a bucket; tests/archive and tests/train/loading have one",
    r"\bmmp-archive\b|\bray start\b|RAY_|detections/": "starts Ray, or needs its results; tests/archive runs it",
    r"\bmmp-export\b": "needs a checkpoint; tests/export runs these commands",
    r"\b(trtexec|ovc|rpicam-vid|ffmpeg|ffprobe|nginx|mosquitto\w*|curl|journalctl|logrotate)\b": "another program",
    r"\bjupyter\b": "runs until it is stopped; test_notebooks runs the notebooks",
    r"^mmp-doctor( --no-cameras)? *(#.*)?$": "takes half a minute; a block of docs/start/pc.md runs it",
    r"^git (tag|push)": "publishes a release",
    r"--serve|\bmqtts?://|--webhook": "runs until it is stopped; tests/runtime/web and tests/privacy serve pages",
    r"\b(OTHER|MORE|ELSEWHERE|yard)\b|'images/|archive/|\bIMAGES\b": "needs more of your images or videos",
    r"--config\b|--print-": "needs the cameras of a site",
    r"--teacher\b": "needs another detector; tests/train/distillation has one",
    r"door\.ndjson|--by-source": "needs the result of an earlier run, or images with sources",
    r"site\.toml|events\.sqlite": "needs cameras, or the store of a run; tests/cli/run/test_site_file.py runs --config",
    r"^python benchmarks/": "measures for hours; tests/benchmarks runs the scripts",
    r"door/|^found|^for one in found|for frame in open_source": "goes on from another block, or needs a camera",
}
"""Why a command that contains such a text is not run. A block of Python is one command."""


@dataclass(frozen=True)
class Block:
    """A block of a page, its commands that run, and those that do not, with their reasons."""

    page: str
    line: int
    kind: str
    runs: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def commands_of(code: str, kind: str) -> list[str]:
    """The commands of a block: its lines, with those that continue one, and here documents in one piece.

    Of a console, only the lines after a prompt are commands; the others are what it printed.
    """
    if kind == "python":
        return [code]
    if kind == "console":
        code = "\n".join(line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ "))
    commands: list[str] = []
    ending: str | None = None
    for line in code.splitlines():
        if commands and (ending is not None or commands[-1].endswith("\\")):
            commands[-1] += f"\n{line}"
            ending = None if line == ending else ending
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append(line)
            here = re.search(r"<<-?\s*'?(\w+)'?", line)
            ending = here[1] if here else None
    return commands


def reason_of(command: str) -> str:
    """Why a command is not run; empty if it is."""
    return next((why for what, why in REASONS.items() if re.search(what, command, re.MULTILINE)), "")


def blocks() -> list[Block]:
    """All blocks, in the order of pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            commands = [(one, reason_of(one)) for one in commands_of(textwrap.dedent(match["code"]), match["kind"])]
            runs = tuple(command for command, reason in commands if not reason)
            line = text[: match.start()].count("\n") + 1
            left_out = tuple((command, reason) for command, reason in commands if reason)
            found.append(Block(page.relative_to(ROOT).as_posix(), line, match["kind"], runs, left_out))
    return found


BLOCKS = blocks()
RUN = [block for block in BLOCKS if block.runs]


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=[block.name for block in RUN])
def test_a_block_runs_from_the_root_of_the_project(block: Block, tmp_path: Path, dataset_folder: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")  # a copy, because a script draws into it
    shutil.copy(ROOT / "docs" / "images" / "astronaut.jpg", tmp_path / "street.jpg")
    (tmp_path / "DATA").symlink_to(dataset_folder)
    for name in MODELS:
        shutil.copy(model_path("person-224-int8"), tmp_path / name)
    for name in VIDEOS:
        write_video(tmp_path / name, count=4)
    code = "\n".join(block.runs)
    command = [sys.executable, "-c", code] if block.kind == "python" else ["bash", "-euo", "pipefail", "-c", code]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{block.name}\n{code}\n{done.stdout}\n{done.stderr}"


def test_enough_commands_run_to_notice_one_that_changed() -> None:
    commands = " ".join(command for block in RUN for command in block.runs)
    for command in ("mmp-run", "mmp-info", "mmp-doctor", "mmp-val", "mmp-train"):
        assert command in commands


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def test_all_blocks_name_only_options_that_exist() -> None:
    known = set(OPTION.findall((ROOT / "docs" / "reference" / "commands.md").read_text())) | {"--help"}
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    unknown = []
    for block in BLOCKS:
        code = "\n".join([*block.runs, *(command for command, _ in block.left_out)])
        for line in re.sub(r"\\\n\s*", " ", code).splitlines():
            for command in re.split(r"\||&&|;", line):
                if re.match(r"\s*(\S+=\S+ )*mmp-[a-z]+ ", command) and "benchmarks/" not in command:
                    flags = OPTION.findall(re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", command))
                    unknown += [f"{block.name}: {flag}" for flag in flags if flag not in known]
    assert not unknown
