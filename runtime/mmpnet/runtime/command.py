"""What every mmp- command shares: one error line and an exit code instead of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from mmpnet.contract.errors import MmpnetError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def people() -> Console:
    """The console for people's messages: stderr, so that stdout stays data."""
    return Console(stderr=True, soft_wrap=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and exit code 1, Ctrl-C into one line and 130."""
    try:
        yield
    except MmpnetError as error:
        fail(str(error))
    except KeyboardInterrupt as stop:
        people().print(str(stop) or "stopped", highlight=False, markup=False)
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Print one error line and leave."""
    people().print(f"[red]error:[/red] {escape(' '.join(message.split()))}", highlight=False)
    raise typer.Exit(1)


def show_version(value: bool) -> None:
    """Callback of --version."""
    if value:
        sys.stdout.write(f"mmpnet {version('mmpnet')}\n")
        raise typer.Exit


def parse_size_hw(text: str) -> tuple[int, int]:
    """`320` -> (320, 320); `192x320` -> (192, 320), height first.

    Raises: typer.BadParameter for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r}: expected N or HEIGHTxWIDTH in px, such as 320 or 192x320")
    return int(parts[0]), int(parts[-1])
