"""How readers handle a bad entry: they stop at the first one, or collect all."""

from types import TracebackType
from typing import Final

from mmpnet.contract.errors import DatasetError


class Faults:
    """Wraps the reading of each entry: `with faults:`. A DatasetError stops the reading, or is collected.

    `found` holds one line per collected fault, which names the file and its line or entry.
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
"""Stops at the first fault and collects nothing."""
