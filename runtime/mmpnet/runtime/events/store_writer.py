"""Write events to the store from a thread of its own, so that no frame waits for a disk."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from msgspec.structs import replace

from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import counted
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.system.progress import Notice, no_notice
from mmpnet.system.trusted_clock import TrustedClock

RETRY_S = 5.0
PRUNE_EVERY_S = 60.0
DAY_S = 86_400
MOST_SNAPSHOTS_WAITING = 100
MOST_WAITING = 20_000
"""Beyond these numbers, a disk that does not take events costs first the snapshots of new events, then the events."""
CLOSE_S = 30.0


class StoreWriter:
    """Takes events of a run and stores them in the background; a full disk is tried again until it has space.

    `stored` is called in the writer's thread after each transaction, to wake those who send. `notify` gets one line
    when events cannot be stored, and when they can again. The writer closes the store.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        stored: Sequence[Callable[[], None]] = (),
        notify: Notice = no_notice,
        retry_s: float = RETRY_S,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._stored = stored
        self._notify = notify
        self._retry_s = retry_s
        self._clock = TrustedClock(
            (store.most_days or 0.0) * DAY_S,
            store.believed_s,
            store.keep_believed,
            jumped=self._say_jump,
            wall=lambda: now().timestamp(),
            monotonic=monotonic,
        )
        self._monotonic = monotonic
        self._queue: deque[Happening] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._lost = 0
        self._fault: sqlite3.Error | None = None
        self._prune_s = monotonic()
        self._thread = threading.Thread(target=self._work, name="store events", daemon=True)

    def started(self, summary: Summary) -> None:
        """Start the thread."""
        del summary
        self._thread.start()

    def put(self, happening: Happening) -> bool:
        """Take an event; never waits for the disk."""
        with self._changed:
            if len(self._queue) >= MOST_SNAPSHOTS_WAITING:
                happening = Happening(replace(happening.event, snapshot=False, box=None))
            if len(self._queue) < MOST_WAITING:
                self._queue.append(happening)
            else:
                self._lost += 1
            self._changed.notify()
        return True

    def finished(self, summary: Summary) -> None:
        """Nothing, as `close` stores what waits."""

    def close(self) -> None:
        """Store what waits, and close the store. Raises: OutputError if events are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            unstored = counted(len(self._queue), "event", ("is", "are"))
            raise OutputError(f"{self._store.path}: the disk does not answer; {unstored} not stored")
        self._store.close()
        lost = self._lost + len(self._queue)
        if lost:
            raise OutputError(
                f"{self._store.path}: {counted(lost, 'event')} could not be stored ({self._fault}); free space"
            )

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    if not self._changed.wait(PRUNE_EVERY_S):
                        break
                batch, closing = list(self._queue), self._closing
            stored = self._write(batch)
            with self._changed:
                if stored:
                    for _ in batch:
                        self._queue.popleft()
                if closing and (not stored or not self._queue):
                    return
                if not stored:
                    self._changed.wait_for(lambda: self._closing, self._retry_s)

    def _write(self, batch: Sequence[Happening]) -> bool:
        """Store a batch; False if that is not possible now."""
        try:
            if batch:
                self._store.add([(one.event, None if one.snapshot is None else one.snapshot.jpeg()) for one in batch])
            self._prune()
        except sqlite3.Error as error:
            if self._fault is None:
                reason = f"events cannot be stored ({error})"
                self._notify(f"{self._store.path}: {reason}; they are kept in memory until there is space")
            self._fault = error
            return False
        if self._fault is not None:
            self._notify(f"{self._store.path}: events are stored again")
            self._fault = None
        if batch:
            for wake in self._stored:
                wake()
        return True

    def _prune(self) -> None:
        if self._monotonic() < self._prune_s:
            return
        self._prune_s = self._monotonic() + PRUNE_EVERY_S
        now_s = self._clock.now_s() if self._store.most_days is not None else None
        unsent = self._store.prune(None if now_s is None else datetime.fromtimestamp(now_s, timezone.utc))
        if unsent:
            self._notify(
                f"{self._store.path}: {counted(unsent, 'event')} became too old or too many before they were sent"
            )

    def _say_jump(self, hours: float) -> None:
        what = "for a day no event is deleted because of its age"
        self._notify(f"{self._store.path}: the clock jumped by {hours:+.1f} h; {what}")
