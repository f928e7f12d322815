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
"""A listener that is further behind misses results, and long before that no event."""
HEARTBEAT_S = 5.0
RETRY_MS = 2000
"""When a browser that has lost us comes back."""


class EventStream:
    """What happens; `result` and `event` belong to the run's thread, `stream` to the server's.

    Nothing is queued for a listener: all read from the same few latest messages, each at its own pace.
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
        """Whether anybody does; results need not be told otherwise."""
        return self._listening_until_s > time.perf_counter()

    def result(self, line: dict[str, Any]) -> None:
        """Tell of a result, as NDJSON has it."""
        self._tell(self._results, f"data: {json.dumps(line)}\n\n".encode())

    def event(self, event: Event) -> None:
        """Tell of a live source's new state, or of a notice; the states are repeated to whoever comes later."""
        name = "notice" if event.kind == "notice" else "state"
        message = f"event: {name}\ndata: {json.dumps(event_as_dict(event))}\n\n".encode()
        if name == "state":
            with self._lock:
                self._states[event.source] = message
        self._tell(self._events, message)

    async def stream(self) -> AsyncIterator[bytes]:
        """Everything from now on, for as long as it is read; a comment every few seconds in which there is nothing."""
        with self._lock:
            position, states = self._count, b"".join(self._states.values())
        sent_s = now_s = time.perf_counter()
        self._listening_until_s = now_s + LINGER_S
        yield f"retry: {RETRY_MS}\n\n".encode() + states
        while not self.closed:
            # The server holds this until the client has taken what it was sent; what it misses, it misses.
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
        """Let every stream end."""
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
