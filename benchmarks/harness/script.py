"""What every benchmark script shares: its typer application, its options, its progress bars and its output."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.console.progress import progress_bar
from mmpnet.system.progress import Step

__all__ = [
    "FigureFile",
    "FrameSize",
    "Json",
    "exit_on_error",
    "progress_bar",
    "progress_named",
    "script_app",
    "show",
    "write_json",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
FrameSize = Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frame in px.")]
FigureFile = Annotated[Path | None, typer.Option("--figure", "--picture", help="Draw the figure here (.png).")]


def script_app() -> typer.Typer:
    """A typer application for a script with one command."""
    return typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def show(*lines: RenderableType) -> None:
    """Print tables and sentences on stderr."""
    for line in lines:
        console().print(line)


def progress_named(description: str) -> Callable[[Sequence[Step]], Iterator[Step]]:
    """A progress bar whose description is given already, as `evaluate` and `take_turns` call it."""
    return lambda steps: iter(progress_bar(steps, description))


def write_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
