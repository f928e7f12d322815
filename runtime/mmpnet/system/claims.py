"""Claim an output file, so that of two runs with one output name the second is refused."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mmpnet.contract.errors import OutputError
from mmpnet.system.files import beginning

try:
    import fcntl
except ImportError:  # Windows: there, files that are open cannot be replaced
    fcntl = None  # type: ignore[assignment]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Claim:
    """A lock on an output's name, held until it is closed or the process ends.

    It lies in a hidden file beside the output, so that containers which share a folder see it; a file that a killed
    process has left is claimed by the next one. Where no such file can be made, nothing is locked: writing the output
    itself fails there.

    Raises: OutputError if another run holds it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = path.with_name(f".{beginning(path.name, 200)}.lock")
        self._descriptor: int | None = None
        while fcntl is not None:
            try:
                descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | _NO_LINK | os.O_CLOEXEC, 0o666)
            except OSError:
                return
            if not _locked(descriptor):
                os.close(descriptor)
                raise OutputError(f"{path}: another run writes to it; stop that one, or choose another name")
            if self._is_in_place(descriptor):
                self._descriptor = descriptor
                return
            os.close(descriptor)  # the run before removed it between opening and locking

    def close(self) -> None:
        """Let the next run have the name."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._lock.unlink()  # while it is locked: nobody else can hold it
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock.stat())
        except OSError:
            return False


def check_unclaimed(path: Path) -> None:
    """Raises: OutputError if another run writes to this file."""
    Claim(path).close()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
