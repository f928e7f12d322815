"""Functions for all commands: the console, one-line errors, exit codes."""

import atexit
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, cast

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from mmpnet.console.safe_stderr import Stderr
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.text import visible
from mmpnet.system.libraries import explain_import, explain_incomplete
from mmpnet.system.privacy import disable_usage_reports, move_caches
from mmpnet.system.signals import interrupt_on_sigterm

INTERRUPTED = 130
"""128 + SIGINT, as in shells."""
OLD_SPELLINGS = {
    "unlabelled": "unlabeled",
    "data-licence": "data-license",
    "weights-licence": "weights-license",
}
"""Options by their earlier, British names, which commands still take but no help shows."""
HELP_NAMES: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: OLD_SPELLINGS.get(token, token),
}
"""Context settings of all commands."""


def launch(module: str, *, extra: str) -> None:
    """Run a command's module; if a library cannot be loaded, print what to install and exit with 1.

    Ctrl-C meanwhile prints one line.
    """
    disable_usage_reports()
    move_caches()
    try:
        with explain_imports(extra=extra):
            command = importlib.import_module(module)
    except KeyboardInterrupt:
        console().print("stopped")
        sys.exit(INTERRUPTED)
    command.main()


@contextmanager
def explain_imports(*, extra: str) -> Iterator[None]:
    """Turn a library that cannot be loaded into one line that says what to install, and exit code 1.

    The block has only imports. Commands import numpy, OpenCV, ONNX Runtime and torch where their work starts, as these
    take up to seconds to load, and neither the help nor the report of a mistyped option needs them.

    extra: the extra of mmpnet that installs the libraries.

    Raises: KeyboardInterrupt also where a library reports Ctrl-C as a failed import.
    """
    try:
        yield
    except Exception as error:
        reason = explain_import(error, extra=extra)
        if reason is None:
            raise
    else:
        reason = explain_incomplete()
    if reason is not None:
        _print_error(reason)
        sys.exit(1)


def end_with(app: Callable[[], object]) -> None:
    """Run a typer app, and end the process although a thread of the app still waits in a library.

    Such a thread, which reads a camera, would return while Python shuts down, and abort a process that did its work.
    Threads that ran before the app belong to a caller, whose process goes on.
    """
    before = set(threading.enumerate())
    try:
        app()
    except SystemExit as ended:
        if not any(thread.daemon for thread in threading.enumerate() if thread not in before):
            raise
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


class SafeConsole(Console):
    """A console that escapes control characters, so that file and class names cannot control the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does, but with control characters in the text escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def results() -> Console:
    """The console for what a command was asked for: stdout, so that it can go to a file or another command."""
    return SafeConsole(file=sys.stdout, soft_wrap=True, markup=False, highlight=False)


def console() -> Console:
    """The console for messages: stderr, so that stdout stays data; text is printed without markup.

    It becomes silent when stderr is closed.
    """
    return SafeConsole(file=cast(IO[str], Stderr()), stderr=True, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and exit code 1, Ctrl-C and SIGTERM into one line and 130.

    SIGTERM raises KeyboardInterrupt, so that temporary files are removed.
    """
    try:
        with interrupt_on_sigterm():
            yield
    except MmpnetError as error:
        fail(str(error))
    except KeyboardInterrupt as stop:
        console().print(str(stop) or "stopped")
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Print one error line and exit with 1."""
    _print_error(message)
    raise typer.Exit(1)


def show_version(value: bool) -> None:  # typer calls it with the flag's value
    """Callback of --version."""
    if value:
        from importlib.metadata import version  # takes a tenth of the time of a help

        sys.stdout.write(f"mmpnet {version('mmpnet')}\n")
        raise typer.Exit


def parse_size_hw(text: str) -> tuple[int, int]:
    """Parse `320` -> (320, 320); `192x320` -> (192, 320), height first.

    Raises: typer.BadParameter for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and 0 < int(part) < 10_000 for part in parts):
        raise typer.BadParameter(f"{text!r}: expected N or HEIGHTxWIDTH in px, such as 320 or 192x320")
    return int(parts[0]), int(parts[-1])


def _print_error(message: str) -> None:
    console().print(Text("error: ", style="red").append(" ".join(message.split()), style="default"))
