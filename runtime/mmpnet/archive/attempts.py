"""Count how often a task was begun, across processes that die: a file that kills its reader must not do so forever."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mmpnet.system.files import remove

_T = TypeVar("_T")


class Attempts:
    """Begun tasks, as one empty file for each attempt in a folder that all workers share. `most`: for a task."""

    most = 3

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def counted(self, name: str, work: Callable[[], _T]) -> _T | None:
        """The result of `work`, or None if it was begun and not ended `most` times before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        before = list(self._folder.glob(f"{name}.attempt-*"))
        if len(before) >= self.most:
            for mark in before:
                remove(mark)
            return None
        mark = self._folder / f"{name}.attempt-{secrets.token_hex(4)}"
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            result = work()
        finally:
            remove(mark)
        for mark in before:
            remove(mark)
        return result
