"""Every shell and Python block of the documentation runs, or there is a reason why it does not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpnet.cli.run.command import app as run_app
from mmpnet.runtime.inference.embedded import model_path
from support.frames import write_video

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>sh|bash|console|python)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)
MODELS = ("model.onnx", "person.onnx", "mine.onnx", "a.onnx", "b.onnx", "other.onnx")
VIDEOS = ("street.mp4", "video.mp4")
CLIP = "docs/media/door.mp4"
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


def shown_of(page: Path, text: str) -> list[tuple[str, list[str]]]:
    """The commands in consoles of a page that contain this text, with the lines that the page shows as their output."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["kind"] == "console":
            for part in re.split(r"^\$ ", match["code"], flags=re.MULTILINE)[1:]:
                command, *lines = part.splitlines()
                found += [(command, lines)] if text in command else []
    return found


@pytest.mark.slow
def test_the_clip_of_the_documentation_shows_and_counts_what_the_pages_say(tmp_path: Path) -> None:
    """`...` stands for lines that differ from run to run."""
    pages = {page.relative_to(ROOT).as_posix(): shown_of(page, CLIP) for page in PAGES}
    shown = [one for page in pages.values() for one in page]
    assert {name for name, one in pages.items() if one} >= {
        "README.md",
        "docs/start/pc.md",
        "docs/recipes/count-at-a-door.md",
    }
    assert all(one == shown[0] for one in shown), "the pages show the same command"
    command, lines = shown[0]
    shutil.copytree(ROOT / "docs" / "media", tmp_path / "docs" / "media")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "COLUMNS": "300"}
    done = subprocess.run(
        shlex.split(command), cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    expected = "\n".join(".*" if line == "..." else re.escape(line) for line in lines)
    assert re.fullmatch(expected, done.stderr.strip(), re.DOTALL), done.stderr
    assert (tmp_path / "out" / "door.mp4").stat().st_size > 0


def test_enough_commands_run_to_notice_one_that_changed() -> None:
    commands = " ".join(command for block in RUN for command in block.runs)
    for command in ("mmp-run", "mmp-info", "mmp-doctor", "mmp-val", "mmp-train"):
        assert command in commands


FENCED = re.compile(r"^ *```(?P<kind>\w*)\n(?P<code>.*?)^ *```$", re.M | re.S)
INDENTED = re.compile(r"(?:\A|\n)\n(?P<code>(?: {4,}\S.*\n)+)")
PROGRAMS = "mmp-[a-z]+|python3?|pip3?|pipx|uv|git|make|docker|podman|systemctl|ray|curl"
TYPED = re.compile(rf"^ {{0,4}}(\$ |sudo |[A-Z_]+=\S+ )*(\S*/)?({PROGRAMS}) ", re.MULTILINE)
TESTED = ("sh", "bash", "console", "python", "powershell")
"""Blocks of these languages run above, or are for another shell than bash."""
RECORDS = ("docs/MODEL_CARD.md", "docs/MEASUREMENTS.md", "docs/ABLATION.md", "docs/adr/", "docs/reference/commands.md")
"""Pages whose commands say how something was once made, and the page of the examples in the help."""


def hidden_commands(text: str) -> list[str]:
    """Commands for bash in blocks that the tests above do not see: without a language, or of none that runs."""
    fenced = [match["code"] for match in FENCED.finditer(text) if match["kind"] not in TESTED]
    outside = FENCED.sub("", text)
    codes = [*fenced, *(match["code"] for match in INDENTED.finditer(outside))]
    return [match[0] for code in codes for match in TYPED.finditer(code)]


@pytest.mark.parametrize(
    "text",
    [
        "```text\nmmp-run 0\n```\n",
        "```\npip install mmpnet\n```\n",
        "```sh\ntrue\n```\n\n```text\nsudo /opt/bin/mmp-run 0\n```\n",
        "A text:\n\n    MMPNET_TOKEN=secret mmp-run 0\n",
    ],
)
def test_a_command_in_a_block_without_shell_is_found(text: str) -> None:
    assert len(hidden_commands(text)) == 1


def test_blocks_of_output_and_of_other_languages_are_no_commands() -> None:
    text = "```powershell\nmmp-run 0\n```\n```text\nrec/front-door.mp4\n```\n\n- A list:\n    mmp-run finds people\n"
    assert hidden_commands(text + "\n```sh\nmmp-run 0 \\\n    --line a\n```\n") == []


def test_every_command_that_a_page_tells_to_type_is_in_a_shell_block() -> None:
    pages = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
    hidden = {name: hidden_commands(text) for name, text in pages.items() if not name.startswith(RECORDS)}
    assert {name: found for name, found in hidden.items() if found} == {}


SETTINGS = [
    (page.relative_to(ROOT).as_posix(), text)
    for page in PAGES
    for text in re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=[page for page, _ in SETTINGS])
def test_settings_on_a_page_are_those_of_a_run(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "secret")
    done = CliRunner().invoke(run_app, ["--config", str(path), "--print-config"], env=secrets)
    assert done.exit_code == 0, f"{page}: {done.output}"
    assert done.stdout.count("[[camera]]") == text.count("[[camera]]") > 0


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def test_all_blocks_name_only_options_that_exist() -> None:
    known = set(OPTION.findall((ROOT / "docs" / "reference" / "commands.md").read_text())) | {"--help"}
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    unknown = []
    for block in BLOCKS:
        code = "\n".join([*block.runs, *(command for command, _ in block.left_out)])
        for line in re.sub(r"\\\n\s*", " ", code).splitlines():
            for command in re.split(r"\||&&|;", line):
                if re.match(r"\s*(\S+=\S+ )*(\S*/)?mmp-[a-z]+ ", command) and "benchmarks/" not in command:
                    flags = OPTION.findall(re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", command))
                    unknown += [f"{block.name}: {flag}" for flag in flags if flag not in known]
    assert not unknown
