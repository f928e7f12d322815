"""A stderr wrapper that ignores broken pipes, so that a closed terminal does not stop a run."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


class Stderr:
    """The current sys.stderr, for rich to write to; silent after the first write that fails.

    Writes fail if the reader is gone or the disk is full. Without a stderr, nothing is written.
    """

    def __init__(self) -> None:
        self._gone = False

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        stream = _current()
        return "utf-8" if stream is None else stream.encoding

    def isatty(self) -> bool:
        """Whether stderr is a terminal."""
        stream = _current()
        return stream is not None and stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor. Raises: io.UnsupportedOperation if it has none."""
        stream = _current()
        if stream is None:
            raise io.UnsupportedOperation("there is no stderr")
        return stream.fileno()

    def write(self, text: str) -> int:
        """Write the text; errors are ignored."""
        stream = _current()
        if stream is not None and not self._gone:
            try:
                stream.write(text)
            except OSError:
                self._lose(stream)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; errors are ignored."""
        stream = _current()
        if stream is not None and not self._gone:
            try:
                stream.flush()
            except OSError:
                self._lose(stream)

    def _lose(self, stream: TextIO) -> None:
        self._gone = True
        # The unwritten text is still in Python's buffer, so it would fail again in another console, and at exit.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _current() -> TextIO | None:
    # While rich shows a progress bar, sys.stderr leads to a console; its output must not come back to it.
    stream: TextIO | None = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    return stream
