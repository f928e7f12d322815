"""Messages of a long run: with a level, and with the time in the form that their reader needs."""

import logging
from datetime import datetime
from typing import Literal, TypeAlias

from rich.console import Console
from rich.text import Text

from mmpnet.system.service_manager import stderr_is_journal

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""The journal's priorities, from syslog."""
ROOT = "mmpnet"


class ConsoleHandler(logging.Handler):
    """Prints each record as one line on a console.

    On a terminal a line begins with the time of day, in the journal with the priority (`<4>`), as the journal adds the
    time, and elsewhere, as in a log file, with date, time and level.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._journal = stderr_is_journal()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        text = " ".join(record.getMessage().split())
        at = datetime.fromtimestamp(record.created).astimezone()
        if self._console.is_terminal:
            style = {"WARNING": "yellow", "ERROR": "red"}.get(record.levelname, "")
            self._console.print(Text(f"{at:%H:%M:%S} ").append(text, style=style))
        elif self._journal:
            self._console.print(f"<{_PRIORITIES.get(record.levelname, 6)}>{text}")
        else:
            level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
            self._console.print(f"{at:%Y-%m-%d %H:%M:%S%z} {level}{text}")


def start_log(console: Console, level: LogLevel) -> None:
    """Print the records of this package from this level on, on the console; an earlier handler is replaced."""
    root = logging.getLogger(ROOT)
    for handler in [one for one in root.handlers if isinstance(one, ConsoleHandler)]:
        root.removeHandler(handler)
    root.addHandler(ConsoleHandler(console))
    root.setLevel(level.upper())
