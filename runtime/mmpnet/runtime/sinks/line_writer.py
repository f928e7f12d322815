"""Write lines to a file, or to a pipe whose reader may be slow or gone."""

import errno
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from mmpnet.contract.errors import OutputError
from mmpnet.system.claims import Claim, check_unclaimed
from mmpnet.system.files import is_folder

TICK_S = 0.2
GRACE_S = 2.0
"""What a reader that does not read may hold up of a run that was asked to end."""


class LineWriter(Protocol):
    """Takes text."""

    def write(self, text: str) -> None:
        """Write all of it at once.

        Raises: BrokenPipeError if the reader has left, TimeoutError if the run is to end and the reader does not read,
        OSError for anything else.
        """

    def close(self) -> None:
        """No more is written."""


class FileLineWriter:
    """Something that stands for stdout, and takes what it is given."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        """It belongs to others."""


class WholeLines:
    """A file that holds whole lines only, on a full disk too; appended to, wherever its end is.

    Where another program has cut the file, as logrotate does, lines go on at its new end.
    """

    def __init__(self, descriptor: int, claim: Claim | None = None, *, owned: bool = True) -> None:
        self._descriptor = descriptor
        self._claim = claim
        self._owned = owned

    def write(self, text: str) -> None:
        before = os.fstat(self._descriptor).st_size
        rest = memoryview(text.encode(errors="replace"))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Half a line would be no JSON for whoever reads the file.
            with suppress(OSError):
                if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                    os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        if self._owned:
            with suppress(OSError):
                os.close(self._descriptor)
        if self._claim is not None:
            self._claim.close()


class PipeLineWriter:
    """A pipe, socket or terminal: it is waited for until it has room, and for GRACE_S after `stop` is set.

    Whoever shares the descriptor shares its O_NONBLOCK too, so that is left as it is: a pipe that select calls writable
    takes PIPE_BUF bytes without blocking.
    """

    def __init__(self, descriptor: int, stop: threading.Event, *, owned: bool) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._owned = owned
        self._until_s: float | None = None

    def write(self, text: str) -> None:
        rest = memoryview(text.encode())
        while rest:
            self._wait()
            try:
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
            except BlockingIOError:
                time.sleep(0.01)  # somebody else took the room
            except OSError as error:
                if error.errno == errno.EIO:  # a terminal that was closed
                    raise BrokenPipeError from error
                raise

    def close(self) -> None:
        if self._owned:
            os.close(self._descriptor)

    def _wait(self) -> None:
        while not select.select([], [self._descriptor], [], TICK_S)[1]:
            if self._stop.is_set():
                self._until_s = self._until_s or time.monotonic() + GRACE_S
                if time.monotonic() > self._until_s:
                    raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")


def check_ndjson(target: str, sources: Iterable[Path]) -> None:
    """Find out before the work whether NDJSON has a place.

    Raises: OutputError if the target is no place to write to, one of the sources, or written to by another run.
    """
    if target == "-":
        if sys.stdout is None:
            raise OutputError("--json -: stdout is closed; leave it open, or give a file")
        return
    if not target:
        raise OutputError("--json: the name is empty; give a file, or - for stdout")
    path = Path(target)
    if path.resolve() in {source.resolve() for source in sources}:
        raise OutputError(f"--json {target}: is itself a source; choose another name")
    if is_folder(path):
        fault = errno.EISDIR
    elif not is_folder(path.parent):
        fault = errno.ENOENT
    elif not os.access(path if os.path.lexists(path) else path.parent, os.W_OK):
        fault = errno.EACCES
    else:
        if not destroys_nothing(target):
            check_unclaimed(path)
        return
    raise OutputError(f"{target}: NDJSON cannot be written ({os.strerror(fault)})")


def destroys_nothing(target: str) -> bool:
    """Whether opening the target leaves everything there as it was: stdout, pipes and devices."""
    return target == "-" or not stat.S_ISREG(_mode(target))


def open_ndjson(target: str, stop: threading.Event, *, append: bool = False) -> LineWriter:
    """Open the target, a FIFO once it has a reader. append: after the lines that a file holds, not in their place.

    Raises: OutputError if another run writes to the file, OSError as it comes, TimeoutError if the run is to end before
    the FIFO has a reader.
    """
    if target == "-":
        return _stdout(stop)
    if hasattr(select, "PIPE_BUF") and stat.S_ISFIFO(_mode(target)):
        return PipeLineWriter(_open_fifo(target, stop), stop, owned=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        patient = _terminal(descriptor, stop)
        if patient is None:
            return WholeLines(descriptor)
        os.close(descriptor)
        return patient
    try:
        claim = Claim(Path(target))
    except OutputError:
        os.close(descriptor)
        raise
    if not append:
        os.ftruncate(descriptor, 0)
    elif _ends_within_a_line(target):
        os.write(descriptor, b"\n")
    return WholeLines(descriptor, claim)


def _ends_within_a_line(target: str) -> bool:
    """Whether a run before was cut off in mid-line."""
    with Path(target).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read(1) not in (b"", b"\n")


def _mode(target: str) -> int:
    """What is there, in the bits of stat; a regular file where there is nothing yet."""
    try:
        return Path(target).stat().st_mode
    except OSError:
        return stat.S_IFREG


def _stdout(stop: threading.Event) -> LineWriter:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed")
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # one that stands for stdout, as in tests
        return FileLineWriter(sys.stdout)
    mode = os.fstat(descriptor).st_mode
    if hasattr(select, "PIPE_BUF") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return PipeLineWriter(descriptor, stop, owned=False)
    return _terminal(descriptor, stop) or WholeLines(descriptor, owned=False)


def _terminal(descriptor: int, stop: threading.Event) -> PipeLineWriter | None:
    """A terminal that select calls writable may have room for one byte, so it is opened once more, with O_NONBLOCK."""
    if not hasattr(select, "PIPE_BUF") or not os.isatty(descriptor):
        return None
    try:
        own = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # such as a container's, whose name is from outside
        own = os.dup(descriptor)
    return PipeLineWriter(own, stop, owned=True)


def _open_fifo(target: str, stop: threading.Event) -> int:
    while True:
        try:
            return os.open(target, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        if stop.wait(TICK_S):
            raise TimeoutError(errno.ETIMEDOUT, "it has no reader")
