"""Limit the number of the web server's connections, and the time that each may take."""

import asyncio
import errno
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_CONNECTIONS, LEAST_CONNECTIONS = 128, 8
RESERVED_DESCRIPTORS = 192
"""Reserved for the run itself: cameras that reconnect, videos, images, models."""
BACKLOG = 32
"""Number of connections that are accepted at once, before excess ones are closed."""
QUEUED = 512
"""Number of connections that the system queues; a health check that finds no place is retried after a second."""
REQUEST_S, READ_S = 10.0, 30.0
"""Seconds until a request must be complete, and until a client that reads nothing is disconnected."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def most_connections() -> int:
    """Number of connections that this process can afford."""
    if resource is None:
        return MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else soft - RESERVED_DESCRIPTORS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, left))


def quiet_without_descriptors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler: without free descriptors, asyncio waits a second anyway, and tracebacks would fill the log."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS):
        loop.default_exception_handler(context)


class GuardedConnection(H11Protocol):
    """An HTTP connection that is closed if its request is not complete in time, or its client does not read.

    If there are too many, the connection that has waited longest for its request is closed for the new one. So a client
    that sends its request at once, such as a health check, is answered despite any number of idle connections.
    """

    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _unsent_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or close one."""
        if len(self.connections) >= most_connections() and not self._make_room():
            self._refused = True
            transport.abort()
            return
        super().connection_made(transport)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._stop("_waiting")
        self._stop("_stalled")
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, or all of it."""
        if self._refused:
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop("_waiting")

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_for_request()

    def pause_writing(self) -> None:
        """The client reads more slowly than the server sends."""
        super().pause_writing()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(READ_S, self._check_progress)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop("_stalled")
        super().resume_writing()

    def _wait_for_request(self) -> None:
        self._stop("_waiting")
        self._waiting = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _check_progress(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent_bytes:
            self.transport.abort()
            return
        self._unsent_bytes = unsent
        self._stalled = self.loop.call_later(READ_S, self._check_progress)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its request; returns False if none waits."""
        guarded = [one for one in self.connections if isinstance(one, GuardedConnection)]
        idle = [(one._waiting.when(), id(one), one) for one in guarded if one._waiting is not None]
        if not idle:
            return False
        oldest = min(idle)[2]
        oldest._stop("_waiting")
        oldest.transport.abort()
        self.connections.discard(oldest)  # now, before its connection_lost: others may arrive in this turn of the loop
        return True

    def _stop(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
