"""The help of every command: without heavy libraries, within 80 columns, with examples; and shell completion."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import typer
from typer.testing import CliRunner

from make_reference import APPS
from mmpnet.cli.run.command import app as run_app
from mmpnet.console.help import MAIN_GROUP, HelpfulCommand, described

SCRIPTS: dict[str, str] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "scripts"
]
NO_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "onnx", "onnx_ir", "pycocotools", "matplotlib", "jinja2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
NO_SLOW = NO_TORCH.replace('("torch"', '("cv2", "numpy", "onnxruntime", "torch"')
NEW_SHELL = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PYTHONPATH")}


def started(
    name: str, *arguments: str, without: str = NO_TORCH, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run an installed command in an interpreter in which only the libraries of the runtime are installed.

    without: code that makes the others absent.
    """
    module, _, function = SCRIPTS[name].partition(":")
    code = without + f"sys.argv[0] = {name!r}; from {module} import {function}; {function}()"
    path = os.pathsep.join(one for one in sys.path if one)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**NEW_SHELL, "PYTHONPATH": path, **environment},
        check=False,
    )


def commands() -> list[tuple[str, HelpfulCommand]]:
    """Every command and subcommand, under the words that start it."""
    found: list[tuple[str, HelpfulCommand]] = []
    for name, app in APPS.items():
        top = typer.main.get_command(app)
        subcommands = getattr(top, "commands", None)
        every = {name: top} if subcommands is None else {f"{name} {word}": one for word, one in subcommands.items()}
        for words, command in every.items():
            assert isinstance(command, HelpfulCommand), words
            found.append((words, command))
    return found


COMMANDS = commands()


def test_every_command_of_the_package_is_tested() -> None:
    assert set(APPS) == set(SCRIPTS), "add it to docs/site/make_reference.py"


@pytest.mark.parametrize("name", sorted(APPS))
def test_the_help_needs_no_slow_library_and_fits_80_columns(name: str) -> None:
    assert NO_SLOW != NO_TORCH
    done = started(name, "-h", without=NO_SLOW, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {name} ")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Examples" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mmp-info --imgsz 320", "--imgsz needs --layers"),
        ("mmp-info --layers --imgsz big", "expected N or HEIGHTxWIDTH"),
        ("mmp-bench --frame-size big", "expected WIDTHxHEIGHT"),
        ("mmp-bench compare a b --frame-size 8", "expected WIDTHxHEIGHT"),
        ("mmp-bench compare a.json b", "two stored reports"),
        ("mmp-bench search a.pth --target-ms 1 --data d --precision fp8", "expected fp32 or int8"),
        ("mmp-bench search a.pth --target-ms 1 --data d --imgsz big", "expected N or HEIGHTxWIDTH"),
        ("mmp-archive a.mp4 -o out --camera-pattern (", "no regular expression"),
        ("mmp-collect a.mp4 -o out --unsure 2-1", "expected LOW-HIGH"),
        ("mmp-collect a.mp4 -o out --max-bytes 2", "expected a size"),
        ("mmp-export a.pth --batch 0", "expected a number above 0, or dynamic"),
        ("mmp-export a.pth --half --int8", "exclude each other"),
        ("mmp-export a.pth --imgsz big", "expected N or HEIGHTxWIDTH"),
        ("mmp-export a.pth -o a.txt", "ends in .onnx"),
        ("mmp-val a.onnx --data d --split none", "'none' is not one of"),
    ],
)
def test_a_mistyped_value_is_reported_before_a_slow_library_is_loaded(line: str, expected: str) -> None:
    name, *arguments = line.split()
    done = started(name, *arguments, without=NO_SLOW, COLUMNS="300")
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr


@pytest.mark.parametrize("command", [one for _, one in COMMANDS], ids=[words for words, _ in COMMANDS])
def test_a_command_shows_the_options_that_matter_first_and_three_examples(command: HelpfulCommand) -> None:
    groups = [group for group in described(command) if group.title != "Arguments"]
    assert groups[0].title == MAIN_GROUP
    assert [entry.names.split(", ")[0].split(" / ")[0] for entry in groups[0].entries] == list(command.main_options)
    assert 1 <= len(command.main_options) <= 5
    assert len(command.examples) == 3
    for example in command.examples:
        assert example.command.startswith("mmp-")
        assert len(example.command) <= 78


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[words for words, _ in COMMANDS])
def test_examples_name_only_options_that_exist(words: str, command: HelpfulCommand) -> None:
    known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    for example in command.examples:
        used = re.findall(r"(?<=\s)--?[a-z][a-z0-9-]*", example.command)
        is_own = example.command.split()[0] == words.split()[0]
        assert set(used) <= known or not is_own, f"{words}: {example.command}"


def test_every_option_is_in_one_group() -> None:
    for words, command in COMMANDS:
        names = " ".join(entry.names for group in described(command) for entry in group.entries)
        options = [
            param
            for param in command.params
            if param.param_type_name == "option" and not getattr(param, "hidden", False)
        ]
        declared = [flag for param in options for flag in (*param.opts, *param.secondary_opts)]
        assert sorted(re.findall(r"--?[a-z][\w-]*", names)) == sorted([*declared, "-h", "--help"]), words


@pytest.mark.parametrize(
    ("name", "typed", "completed"),
    [
        ("mmp-train", "--epo", "--epochs"),
        ("mmp-run", "--provider ten", "tensorrt"),
        ("mmp-val", "--by", "--by-source"),
    ],
)
def test_the_shell_completes_options_and_choices(name: str, typed: str, completed: str, tmp_path: Path) -> None:
    asked = f"_{name.upper().replace('-', '_')}_COMPLETE"
    words = {"COMP_WORDS": f"{name} {typed}", "COMP_CWORD": str(len(typed.split())), "HOME": str(tmp_path)}
    done = started(name, **words, **{asked: "complete_bash"})
    assert completed in done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("--provider", "cuda2"), "Did you mean cuda?"),
        (("--provider=opnvino",), "Did you mean openvino?"),
        (("person-32",), "did you mean person-320?"),
        (("person-192x320-in8",), "did you mean person-192x320-int8?"),
    ],
)
def test_a_misspelled_provider_or_model_gets_the_nearest_name(typed: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(run_app, [*typed, "--camera", "0"], env={"COLUMNS": "300"})
    assert result.exit_code != 0
    assert expected in result.stderr


def test_nothing_is_suggested_for_what_resembles_no_choice() -> None:
    result = CliRunner().invoke(run_app, ["--provider", "xyz", "--camera", "0"], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "Did you mean" not in result.stderr
