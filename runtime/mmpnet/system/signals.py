"""Turn SIGINT, SIGTERM and SIGHUP into a request to stop cleanly."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_wanted(stop: threading.Event) -> Iterator[threading.Event]:
    """SIGINT, SIGTERM and SIGHUP set `stop` and the event given; the second of them acts as it would have without this.

    So a service manager's stop and a closed terminal leave finished files, and a run that hangs can still be stopped by
    hand. What nohup has had ignored stays ignored.
    """
    before: dict[int, Any] = {}
    asked = threading.Event()

    def wish(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        stop.set()
        restore()

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, wish)
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            before[hangup] = signal.signal(hangup, wish)
    try:
        yield asked
    finally:
        restore()
