"""How readers handle a bad entry: stop at the first one, or collect all."""

from types import TracebackType
from typing import Final

from mmpnet.contract.errors import DatasetError


class Faults:
    """`with faults:` around each entry: a DatasetError ends the reading, or, where they are collected, only the entry.

    `found` holds one line per collected fault, each with its file and its line or entry.
    """

    def __init__(self, *, collect: bool = False) -> None:
        self.found: list[str] = []
        self._collect = collect

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self._collect or not isinstance(error, DatasetError):
            return False
        self.found.append(str(error))
        return True


STRICT: Final = Faults()
"""Every fault ends the reading; nothing is ever noted here."""
