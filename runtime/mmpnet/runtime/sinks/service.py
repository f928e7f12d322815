"""Tell the service manager that the run is ready, works, and what it does."""

import time
from collections.abc import Callable

from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event
from mmpnet.system.service_manager import notify, watchdog_s

STUCK_S = 60.0
"""A run that gets frames but gives no result for this long hangs; a camera that gives no frames is no reason."""
STATUS_EVERY_S = 10.0


class ServiceSink(Sink):
    """Sends READY, a sign of life while results come or no frames do, and a status line.

    send: sends states to the service manager. clock: a monotonic clock in seconds.
    """

    def __init__(self, *, send: Callable[..., bool] = notify, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        allowed_s = watchdog_s()
        # Half of the time, as systemd advises; without a watchdog, only the status is sent.
        self._every_s = STATUS_EVERY_S if allowed_s is None else min(allowed_s / 2, STATUS_EVERY_S)
        self._watched = allowed_s is not None
        self._summary: Summary | None = None
        self._sent_s = self._result_s = clock()
        self._captured = 0

    def started(self, summary: Summary) -> None:
        self._summary = summary
        self._result_s = self._clock()
        self._send("READY=1", f"STATUS={self._status()}")

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del result, annotated_bgr
        self._result_s, self._captured = self._clock(), self._count()
        self._sign_of_life()
        return True

    def event(self, event: Event) -> None:
        if event.kind != "notice":
            self._send(f"STATUS={self._status()}")

    def idle(self) -> bool:
        self._sign_of_life()
        return True

    def _sign_of_life(self) -> None:
        now_s = self._clock()
        stuck = now_s - self._result_s > STUCK_S and self._count() > self._captured
        if stuck or now_s - self._sent_s < self._every_s:
            return
        self._sent_s = now_s
        self._send(*(["WATCHDOG=1"] if self._watched else []), f"STATUS={self._status()}")

    def _count(self) -> int:
        return 0 if self._summary is None else sum(counts.captured for counts in self._summary.sources)

    def _status(self) -> str:
        if self._summary is None:
            return "starting"
        return ", ".join(f"{counts.source} {counts.state}" for counts in self._summary.sources)
