"""Stop a run between two steps with everything saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


class InterruptedRunError(KeyboardInterrupt):
    """The user or the system asked to stop; everything needed to go on has been saved. Its text says how."""


@dataclass(slots=True)
class StopRequest:
    """Set by SIGINT or SIGTERM; a run ends at the next step, a second SIGINT ends it at once."""

    asked: bool = field(default=False)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request, so that no optimiser step is torn in two."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        del frame
        if request.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it holds is put away."""

    def end(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
