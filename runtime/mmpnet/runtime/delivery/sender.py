"""Send the events in an outbox to their destination, from a thread of its own, until each has arrived."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Protocol

from mmpnet.contract.errors import first_line
from mmpnet.contract.text import counted
from mmpnet.runtime.events.database import store_error
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.store import Outbox, StoredEvent
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.system.progress import Notice, no_notice

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
CLOSE_S = 5.0
"""How long the end of a run waits for what is left; the rest is sent by the next run."""


class RetryError(Exception):
    """An event did not arrive now; it is sent again later."""


class RefusedError(Exception):
    """The destination will never take this event; it is given up."""


class Destination(Protocol):
    """Takes events. It is used by one thread."""

    name: str
    """Of its outbox."""

    def deliver(self, stored: StoredEvent, jpeg: bytes | None, *, newest: bool) -> None:
        """Send one event with its snapshot, and wait until it has arrived; newest: no other event waits after it.

        Raises: RetryError, RefusedError.
        """


class OutboxSender:
    """Sends the events of a store to one destination, oldest first, each until it has arrived.

    After a failure it waits 1 s, then twice as long each time, up to 5 minutes. `notify` gets one line when sending
    fails and one when it works again. Start it when the store is open.
    """

    def __init__(
        self,
        path: Path,
        destination: Destination,
        *,
        notify: Notice = no_notice,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._path = path
        self._destination = destination
        self._notify = notify
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._fault: str | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Raises: OutputError if the store cannot be read."""
        try:
            outbox = Outbox(self._path, self._destination.name)
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error
        name = f"send to {self._destination.name}"
        self._thread = threading.Thread(target=self._work, args=(outbox,), name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There are new events; any thread may call it."""
        self._wake.set()

    def hurry(self) -> None:
        """The destination is there again: do not wait for the next attempt. Any thread may call it."""
        self._hurry.set()
        self._wake.set()

    def close(self, *, within_s: float = CLOSE_S) -> None:
        """Send what is left if it arrives at once, and stop; `notify` gets a line if events wait for the next run."""
        self._stop.set()
        self.hurry()
        if self._thread is not None:
            self._thread.join(within_s)

    def _work(self, outbox: Outbox) -> None:
        wait_s = self._first_wait_s
        try:
            while True:
                try:
                    self._send_all(outbox)
                except (RetryError, sqlite3.Error) as error:
                    if self._fault is None:
                        waiting = f"events wait in the store; trying again ({first_line(error)})"
                        self._notify(f"{self._destination.name}: {waiting}")
                    self._fault = first_line(error)
                    if self._pause(wait_s):
                        return
                    wait_s = min(wait_s * 2, self._longest_wait_s)
                    continue
                wait_s = self._first_wait_s
                if self._stop.is_set():
                    return
                self._wake.wait()
                self._wake.clear()
                self._hurry.clear()
        finally:
            self._tell_left(outbox)
            outbox.close()

    def _send_all(self, outbox: Outbox) -> None:
        """Send until the outbox is empty. Raises: RetryError, sqlite3.Error."""
        found = outbox.next()
        while found is not None:
            stored, jpeg = found
            following = outbox.next(stored.seq)
            try:
                self._destination.deliver(stored, jpeg, newest=following is None)
            except RefusedError as error:
                self._notify(f"{self._destination.name}: refused the event {stored.event.id} ({first_line(error)})")
            outbox.sent(stored.seq)
            if self._fault is not None:
                self._fault = None
                self._notify(f"{self._destination.name}: events arrive again")
            found = outbox.next(stored.seq)

    def _pause(self, wait_s: float) -> bool:
        """Wait before the next attempt, or until `hurry`; returns whether to stop."""
        until_s = time.monotonic() + wait_s
        while not self._hurry.wait(max(until_s - time.monotonic(), 0.0)) and time.monotonic() < until_s:
            pass
        self._hurry.clear()
        return self._stop.is_set()

    def _tell_left(self, outbox: Outbox) -> None:
        try:
            left = len(outbox)
        except sqlite3.Error:
            return
        if left:
            self._notify(
                f"{self._destination.name}: {counted(left, 'event', ('waits', 'wait'))} in the store for the next run"
            )


class SenderOutput:
    """Sends a run's events to one destination from the outbox of the store at `path`."""

    def __init__(self, path: Path, destination: Destination, *, notify: Notice = no_notice) -> None:
        self.sender = OutboxSender(path, destination, notify=notify)

    def started(self, summary: Summary) -> None:
        """Start sending."""
        del summary
        self.sender.start()

    def put(self, happening: Happening) -> bool:
        """Nothing, as the event comes from the outbox."""
        del happening
        return True

    def finished(self, summary: Summary) -> None:
        """Nothing, as `close` sends what waits."""

    def close(self) -> None:
        """Send what is left if it arrives at once."""
        self.sender.close()
