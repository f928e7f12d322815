"""Ctrl-C and SIGTERM as a wish to end, not as a blow."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_wanted() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; the second of them acts as it would have without this.

    So a service manager's stop leaves finished files, and a run that hangs can still be stopped by hand.
    """
    stop = threading.Event()
    before: dict[int, Any] = {}

    def wish(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, wish)
    try:
        yield stop
    finally:
        restore()
