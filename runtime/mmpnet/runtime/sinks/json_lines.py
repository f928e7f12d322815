"""Append JSON lines to an output that is opened at the first line, and whose reader may be slow or gone."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.sinks.line_writer import LineWriter, check_ndjson, open_ndjson
from mmpnet.system.files import what_to_do
from mmpnet.system.progress import Notice


class JsonLines:
    """Writes lines to `target`, a file or - for stdout, of the command's `option`.

    It waits for a slow reader, but only two seconds after `stop` is set; then it reports to `notify`. `append` keeps
    the lines that an existing file has.

    Raises: OutputError if the target is not writable, or is one of the sources.
    """

    def __init__(
        self, target: str, *, option: str, sources: Sequence[Path], stop: threading.Event, notify: Notice
    ) -> None:
        check_ndjson(target, sources, option=option)
        self.append = False
        self._target = target
        self._option = option
        self._stop = stop
        self._notify = notify
        self._file: LineWriter | None = None
        self._gone = False

    @property
    def is_open(self) -> bool:
        """Whether a line was written."""
        return self._file is not None

    @property
    def gone(self) -> bool:
        """Whether its reader has closed the pipe, or does not read any more."""
        return self._gone

    def write(self, lines: Sequence[str]) -> bool:
        """Write lines without newlines; returns whether there is still a reader. Raises: OutputError."""
        if self._gone:
            return False
        try:
            if self._file is None:
                self._file = open_ndjson(self._target, self._stop, append=self.append)
            for line in lines:
                self._file.write(line + "\n")
        except BrokenPipeError:
            # The reader has closed the pipe, as in `mmp-run --json - | head`.
            self._gone = True
            if self._target == "-":  # otherwise Python reports the error again at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except TimeoutError as error:
            self._gone = True
            self._notify(f"{self._option} {self._target}: {error.strerror}; the last lines are lost")
        except OSError as error:
            raise OutputError(
                f"{self._target}: NDJSON cannot be written ({error.strerror}); {what_to_do(error)}"
            ) from error
        return not self._gone

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()
