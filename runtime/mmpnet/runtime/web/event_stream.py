"""Server-sent events: results and events for any number of clients, with bounded memory."""

import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from mmpnet.runtime.pipeline.results import event_as_dict
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.web.notifier import LINGER_S, TICK_S, Notifier

KEPT_RESULTS, KEPT_EVENTS = 32, 64
"""A client that is further behind misses results, but events only much later."""
HEARTBEAT_S = 5.0
RETRY_MS = 2000
"""When a browser reconnects after losing the stream."""


class EventStream:
    """Results and events; `result` and `event` are called by the run's thread, `stream` by the server's.

    There is no queue per client: all read the same latest messages, each at its own pace.
    """

    def __init__(self) -> None:
        self.notifier = Notifier()
        self.closed = False
        self._lock = threading.Lock()
        self._count = 0
        self._listening_until_s = 0.0
        self._results: deque[tuple[int, bytes]] = deque(maxlen=KEPT_RESULTS)
        self._events: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self._states: dict[str, bytes] = {}

    @property
    def listening(self) -> bool:
        """Whether there are clients; without any, results need not be passed."""
        return self._listening_until_s > time.perf_counter()

    def result(self, line: dict[str, Any]) -> None:
        """Send a result, as in NDJSON."""
        self._tell(self._results, f"data: {json.dumps(line)}\n\n".encode())

    def event(self, event: Event) -> None:
        """Send a live source's new state, or a notice; new clients get the latest states."""
        name = "notice" if event.kind == "notice" else "state"
        message = f"event: {name}\ndata: {json.dumps(event_as_dict(event))}\n\n".encode()
        if name == "state":
            with self._lock:
                self._states[event.source] = message
        self._tell(self._events, message)

    async def stream(self) -> AsyncIterator[bytes]:
        """Everything from now on, while the client reads; a comment every few seconds without messages."""
        with self._lock:
            position, states = self._count, b"".join(self._states.values())
        sent_s = now_s = time.perf_counter()
        self._listening_until_s = now_s + LINGER_S
        yield f"retry: {RETRY_MS}\n\n".encode() + states
        while not self.closed:
            # The server waits here until the client has taken the data; messages in the meantime may be missed.
            yield b""
            now_s = time.perf_counter()
            self._listening_until_s = now_s + LINGER_S
            position, messages = self._since(position)
            if not messages and now_s - sent_s >= HEARTBEAT_S:
                messages = b": heartbeat\n\n"
            if messages:
                sent_s = now_s
                yield messages
            else:
                await self.notifier.wait(TICK_S)

    def end(self) -> None:
        """End all streams."""
        self.closed = True
        self.notifier.notify()

    def _tell(self, kept: deque[tuple[int, bytes]], message: bytes) -> None:
        with self._lock:
            self._count += 1
            kept.append((self._count, message))
        self.notifier.notify()

    def _since(self, position: int) -> tuple[int, bytes]:
        with self._lock:
            new = sorted(entry for kept in (self._results, self._events) for entry in kept if entry[0] > position)
            return self._count, b"".join(message for _, message in new)
