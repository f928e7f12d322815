"""Count how often a task was begun, across processes that die: a file that kills its reader must not do so forever."""

import secrets
from collections.abc import Callable
from typing import TypeVar

from mmpnet.archive.places import Place, discard, files_in, touch

_T = TypeVar("_T")


class Attempts:
    """Begun tasks, as one empty file for each attempt in a folder that all workers share. `most`: for a task."""

    most = 3

    def __init__(self, folder: Place) -> None:
        self._folder = folder

    def counted(self, name: str, work: Callable[[], _T]) -> _T | None:
        """The result of `work`, or None if it was begun and not ended `most` times before."""
        before = files_in(self._folder, f"{name}{_MARK}")
        if len(before) >= self.most:
            for mark in before:
                discard(mark)
            return None
        mark = self._folder / f"{name}{_MARK}{secrets.token_hex(4)}"
        touch(mark)
        try:
            result = work()
        finally:
            discard(mark)
        for mark in before:
            discard(mark)
        return result

    def forget(self) -> None:
        """Give all tasks new attempts."""
        for path in files_in(self._folder):
            if _MARK in path.name:
                discard(path)


_MARK = ".attempt-"
