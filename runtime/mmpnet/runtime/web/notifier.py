"""Wake the coroutines of the server from the thread of the run, without blocking it."""

import asyncio
from contextlib import suppress

TICK_S = 0.5
"""How often those who wait for a ring look around anyway."""
LINGER_S = 2.0
"""How long somebody counts as present after looking around: a client that reads nothing does not for longer."""


class Notifier:
    """Tells the coroutines of one event loop that there is something new; rings that nobody has heard become one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending = False
        self._notified = asyncio.Event()

    def attach(self) -> None:
        """To the running loop, whose coroutines hear it from now on."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """From any thread."""
        if self._loop is None or self._pending:
            return
        self._pending = True
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(self._wake)

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next ring, but not longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._notified.wait()

    def _wake(self) -> None:
        # Down before the coroutines look around, so that what comes while they do rings again.
        self._pending = False
        self._notified.set()
        self._notified = asyncio.Event()
