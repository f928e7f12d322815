"""Turn SIGINT, SIGTERM and SIGHUP into a request to stop cleanly."""

import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if _HANGUP is None else [_HANGUP]))


class InterruptedRunError(KeyboardInterrupt):
    """The user or the system requested a stop. Everything needed to continue is saved; the text says how to."""


@contextmanager
def stop_on_signal(
    stop: threading.Event,
    *,
    forceful: Collection[signal.Signals] = _STOP_SIGNALS,
    reload: Callable[[], bool] | None = None,
) -> Iterator[threading.Event]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP inside the block, which yields `stop`.

    So files are complete when a service manager stops the program or its terminal closes. After the first signal, the
    signals in `forceful` act as they did before the block, so that a hanging program can still be stopped; repeats of
    the others are ignored. If SIGHUP was ignored before, as under nohup, it stays ignored. Outside the main thread,
    where Python allows no handlers, nothing changes.

    reload: decides at each SIGHUP whether to stop; while it returns False, the signal has no other effect.
    """
    before: dict[signal.Signals, Any] = {}

    def request(number: int, _frame: FrameType | None) -> None:
        if number == _HANGUP and reload is not None and not reload():
            return
        stop.set()
        restore(forceful)

    def restore(numbers: Collection[signal.Signals]) -> None:
        for number in numbers:
            if number in before:
                signal.signal(number, before.pop(number))

    if threading.current_thread() is threading.main_thread():
        for number in _STOP_SIGNALS:
            if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        restore(_STOP_SIGNALS)


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does, so that its resources are cleaned up.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
