"""Write lines to a file, or to a pipe whose reader may be slow or closed."""

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
from mmpnet.system.files import is_folder, what_to_do

TICK_S = 0.2
GRACE_S = 2.0
"""How long a stopping run waits for a reader that does not read."""


class LineWriter(Protocol):
    """Writes text."""

    def write(self, text: str) -> None:
        """Write the whole text at once.

        Raises: BrokenPipeError if the reader is closed, TimeoutError if the run is stopping and the reader does not
        read, OSError for other errors.
        """

    def close(self) -> None:
        """Finish writing."""


class FileLineWriter:
    """A writer for an object that replaces stdout."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        """Do nothing, as the file belongs to the caller."""


class WholeLines:
    """A file that contains only whole lines, even on a full disk; lines are appended at its current end.

    If another program truncates the file, as logrotate does, writing continues at its new end.
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
            # A partial line would be invalid JSON for readers of the file.
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
    """A pipe, socket or terminal: waits until it has room, and for at most GRACE_S after `stop` is set.

    Other processes that share the descriptor would share its O_NONBLOCK, so that flag is not changed: a pipe that
    select reports as writable takes PIPE_BUF bytes without blocking.
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
                time.sleep(0.01)  # another writer has filled the room
            except OSError as error:
                if error.errno == errno.EIO:  # the terminal was closed
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


def check_ndjson(target: str, sources: Iterable[Path], *, option: str = "--json") -> None:
    """Check the target of NDJSON before the work starts.

    Raises: OutputError if the target is not writable, is one of the sources, or is in use by another run.
    """
    if target == "-":
        if sys.stdout is None:
            raise OutputError(f"{option} -: stdout is closed; leave it open, or give a file")
        return
    if not target:
        raise OutputError(f"{option}: the name is empty; give a file, or - for stdout")
    path = Path(target)
    if path.resolve() in {source.resolve() for source in sources}:
        raise OutputError(f"{option} {target}: is also a source; choose another name")
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
    advice = what_to_do(OSError(fault, os.strerror(fault)))
    raise OutputError(f"{target}: NDJSON cannot be written ({os.strerror(fault)}); {advice}")


def destroys_nothing(target: str) -> bool:
    """Whether opening the target keeps its content: stdout, pipes and devices."""
    return target == "-" or not stat.S_ISREG(_mode(target))


def open_ndjson(target: str, stop: threading.Event, *, append: bool = False) -> LineWriter:
    """Open the target; a FIFO is opened when it has a reader. append: keep the lines in an existing file.

    Raises: OutputError if another run writes to the file, OSError for other errors, TimeoutError if the run stops
    before the FIFO has a reader.
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
    """Whether the last line of the file is incomplete, as a killed run leaves it."""
    with Path(target).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read(1) not in (b"", b"\n")


def _mode(target: str) -> int:
    """File type bits of the target, as in stat; a regular file if nothing exists yet."""
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
    except OSError:  # an object that replaces stdout, as in tests
        return FileLineWriter(sys.stdout)
    mode = os.fstat(descriptor).st_mode
    if hasattr(select, "PIPE_BUF") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return PipeLineWriter(descriptor, stop, owned=False)
    return _terminal(descriptor, stop) or WholeLines(descriptor, owned=False)


def _terminal(descriptor: int, stop: threading.Event) -> PipeLineWriter | None:
    """Open a terminal again with O_NONBLOCK, as one that select reports as writable may have room for only one byte."""
    if not hasattr(select, "PIPE_BUF") or not os.isatty(descriptor):
        return None
    try:
        own = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # for example in a container, where the terminal's name belongs to the host
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
