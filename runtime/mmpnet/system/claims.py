"""Claim an output file, so that a second run with the same output name is refused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from mmpnet.contract.errors import OutputError
from mmpnet.system.files import beginning

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Claim:
    """A lock on the name of an output, held until `close` or until the process ends.

    The lock is a hidden file beside the output, so that containers that share a folder see it. The next run takes over
    a lock file that a killed process left behind. If no lock file can be made, nothing is locked: writing the output
    then fails with its own error. On Windows nothing is locked: a file that is open, as a video is, cannot be replaced
    there, but one that is written as a whole can.

    Raises: OutputError if another run holds the lock.
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
                _HELD.add(self)
                return
            os.close(descriptor)  # the previous run removed the file between our open and our lock

    def require_held(self) -> None:
        """Does nothing: the system keeps the lock until the process ends."""

    def close(self) -> None:
        """Release the name for the next run."""
        if self._descriptor is not None:
            if self._is_in_place(self._descriptor):  # else its folder was removed, and the name may be another run's
                with suppress(OSError):
                    self._lock.unlink()  # still locked, so no other run can hold it
            self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """Close the lock file as it is: in a forked process the lock is the parent's, and must not outlive it."""
        if self._descriptor is not None:
            _HELD.discard(self)
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


_HELD: set[Claim] = set()


def _leave_all_to_parent() -> None:
    for claim in list(_HELD):
        claim.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


@contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """Hold the name of a folder that several files are written to.

    The folder need not exist. Those above it that had to be made for the lock go again if nothing came into them.

    Raises: OutputError if another run holds the name, or the folder is the root of the file system.
    """
    folder = folder.resolve()
    if not folder.name:
        raise OutputError(f"{folder}: is the root of the file system; choose a folder below it")
    made = [parent for parent in folder.parents if not parent.exists()]
    with suppress(OSError):  # what cannot be written fails with its own error
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Claim(folder):
            yield
    finally:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def check_unclaimed(path: Path) -> None:
    """Raises: OutputError if another run writes to this file."""
    Claim(path).close()


def is_claimed(path: Path) -> bool:
    """Whether another run writes to this name now."""
    try:
        check_unclaimed(path)
    except OutputError:
        return True
    return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system does not support locks
        return True
    return True
