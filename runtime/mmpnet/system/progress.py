"""Interfaces to report progress and notices of long work, so that only commands depend on a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias, TypeVar

Step = TypeVar("Step")
Notice: TypeAlias = Callable[[str], None]
"""Receives one line for the user."""


class Progress(Protocol):
    """Receives all steps and a description of the work, and yields the steps one by one; a progress bar does this."""

    def __call__(self, steps: Sequence[Step], description: str, /) -> Iterable[Step]: ...


def no_progress(steps: Sequence[Step], _: str, /) -> Iterable[Step]:
    """Returns the steps, without a progress report."""
    return steps


def no_notice(_: str) -> None:
    """Discards the line."""
