"""A stderr wrapper that ignores broken pipes, so that a closed terminal does not stop a run."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


class Stderr:
    """sys.stderr as it is at each call, to be written to by rich; silent for good once a write has failed.

    A reader that has left and a full disk are such failures. Where there is no stderr, nothing is written.
    """

    def __init__(self) -> None:
        self._gone = False

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        stream = _current()
        return "utf-8" if stream is None else stream.encoding

    def isatty(self) -> bool:
        """Whether a terminal shows what is written."""
        stream = _current()
        return stream is not None and stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor. Raises: io.UnsupportedOperation where it has none."""
        stream = _current()
        if stream is None:
            raise io.UnsupportedOperation("there is no stderr")
        return stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be written; never fails."""
        stream = _current()
        if stream is not None and not self._gone:
            try:
                stream.write(text)
            except OSError:
                self._lose(stream)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written; never fails."""
        stream = _current()
        if stream is not None and not self._gone:
            try:
                stream.flush()
            except OSError:
                self._lose(stream)

    def _lose(self, stream: TextIO) -> None:
        self._gone = True
        # What could not be written is still in Python's buffer: it would fail again in another console, and at exit.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _current() -> TextIO | None:
    # While rich shows a progress bar, sys.stderr leads to a console; what that writes must not come back to it.
    stream: TextIO | None = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    return stream
