"""What long work reports while it runs: steps and notices, as functions, so that only commands know a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias, TypeVar

Step = TypeVar("Step")
Notice: TypeAlias = Callable[[str], None]
"""Receives one line for the user."""


class Progress(Protocol):
    """Receives all steps and a description of the work, and yields the steps one by one, such as a progress bar."""

    def __call__(self, steps: Sequence[Step], description: str, /) -> Iterable[Step]: ...


def no_progress(steps: Sequence[Step], _: str, /) -> Iterable[Step]:
    """The steps, without a report."""
    return steps


def no_notice(_: str) -> None:
    """Discards the line."""
