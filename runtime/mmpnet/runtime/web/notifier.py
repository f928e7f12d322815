"""Wake the coroutines of the server from the thread of the run, without blocking it."""

import asyncio
from contextlib import suppress

TICK_S = 0.5
"""How often waiting coroutines check without a notification."""
LINGER_S = 2.0
"""How long a client counts as present after its last check; a client that stops reading does not check."""


class Notifier:
    """Notifies the coroutines of one event loop; notifications that nobody has received yet are merged."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending = False
        self._notified = asyncio.Event()

    def attach(self) -> None:
        """Attach to the running loop, whose coroutines get notifications from now on."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Notify the coroutines; any thread may call it."""
        if self._loop is None or self._pending:
            return
        self._pending = True
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._wake)

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next notification, but not longer than `timeout_s`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._notified.wait(), timeout_s)

    def _wake(self) -> None:
        # Clear the event before the coroutines check, so that a notification during the check is kept.
        self._pending = False
        self._notified.set()
        self._notified = asyncio.Event()
