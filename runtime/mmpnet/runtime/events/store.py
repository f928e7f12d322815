"""The event store: SQLite, with an outbox for each destination, and limits in days and bytes."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mmpnet.runtime.events.database import connect, open_database
from mmpnet.runtime.events.event import CameraEvent, decode_event, encode_event
from mmpnet.system.claims import Claim
from mmpnet.system.progress import Notice, no_notice

DAY = timedelta(days=1)
LEAST_BYTES = 1 << 20
PRUNE_SHARE = 0.1
"""The share of the allowed bytes that is freed when they are exceeded, so that this happens rarely."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events and snapshots are kept: at most so many days, and at most so many bytes; None is no limit.

    Raises: ValueError for limits of nothing.
    """

    days: float | None = 30.0
    most_bytes: int | None = 1 << 30

    def __post_init__(self) -> None:
        if self.days is not None and not self.days > 0:
            raise ValueError(f"days must be above 0, got {self.days}")
        if self.most_bytes is not None and self.most_bytes < LEAST_BYTES:
            raise ValueError(f"bytes must be at least {LEAST_BYTES}, got {self.most_bytes}")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the store; `seq` grows with each event, and is never used again."""

    seq: int
    event: CameraEvent


class EventStore:
    """The events of one or several runs in one file, which one process at a time writes.

    Each event is complete and survives a power cut when `add` returns. It is in the outbox of every destination until
    `sent`. `destinations`: their names; what waits for others is given up. `notify` gets one line if the file was
    damaged. Threads may share it if only one of them is in it at a time.

    Raises: OutputError if the file is not an event store, another run writes to it, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        destinations: Sequence[str] = (),
        retention: Retention | None = None,
        notify: Notice = no_notice,
    ) -> None:
        self.path = path
        self._destinations = tuple(destinations)
        self._retention = retention or Retention()
        self._claim = Claim(path)
        try:
            open_database(path, notify)
            self._connection = connect(path)
            marks = ", ".join("?" * len(self._destinations))
            with transaction(self._connection) as cursor:
                cursor.execute(f"DELETE FROM outbox WHERE destination NOT IN ({marks})", self._destinations)
        except BaseException:
            self._claim.close()
            raise

    def add(self, events: Sequence[tuple[CameraEvent, bytes | None]]) -> None:
        """Store events with their JPEG snapshots, all or none; an event with a known id is left as it is.

        Raises: sqlite3.Error if they cannot be stored, for example because the disk is full.
        """
        with transaction(self._connection) as cursor:
            for event, jpeg in events:
                cursor.execute(
                    "INSERT OR IGNORE INTO events (id, event, camera, at_ms, class, line, zone, direction, json) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        event.id,
                        event.event,
                        event.camera,
                        _milliseconds(event.at),
                        event.class_name,
                        event.line,
                        event.zone,
                        event.direction,
                        encode_event(event),
                    ),
                )
                if not cursor.rowcount:
                    continue
                seq = cursor.lastrowid
                place = event.line or event.zone
                if place is not None and event.direction is not None:
                    cursor.execute(
                        "INSERT INTO totals (camera, place, direction, count) VALUES (?, ?, ?, 1) "
                        "ON CONFLICT (camera, place, direction) DO UPDATE SET count = count + 1",
                        (event.camera, place, event.direction),
                    )
                if jpeg is not None:
                    cursor.execute("INSERT INTO snapshots (seq, jpeg) VALUES (?, ?)", (seq, jpeg))
                rows = [(destination, seq) for destination in self._destinations]
                cursor.executemany("INSERT INTO outbox (destination, seq) VALUES (?, ?)", rows)

    @property
    def most_days(self) -> float | None:
        """The limit in days; None if there is none."""
        return self._retention.days

    def believed_s(self) -> float | None:
        """The last time in s since 1970 that was believed; None if there is none. Raises: sqlite3.Error."""
        row = self._connection.execute("SELECT believed_s FROM clock").fetchone()
        return None if row is None else float(row[0])

    def keep_believed(self, time_s: float) -> None:
        """Keep the time for `believed_s`. Raises: sqlite3.Error."""
        with transaction(self._connection) as cursor:
            cursor.execute("DELETE FROM clock")
            cursor.execute("INSERT INTO clock (believed_s) VALUES (?)", (time_s,))

    def prune(self, now: datetime | None) -> int:
        """Delete what is too old or too much, oldest first; returns how many events no destination will get.

        now: None if the time is not certain; then nothing is too old.

        Raises: sqlite3.Error.
        """
        before = self._waiting()
        if self._retention.days is not None and now is not None:
            oldest_ms = _milliseconds(now - self._retention.days * DAY)
            with transaction(self._connection) as cursor:
                cursor.execute("DELETE FROM events WHERE at_ms < ?", (oldest_ms,))
        most = self._retention.most_bytes
        while most is not None and self.used_bytes() > most:
            (count,) = self._connection.execute("SELECT count(*) FROM events").fetchone()
            share = max(1 - (1 - PRUNE_SHARE) * most / self.used_bytes(), PRUNE_SHARE)
            with transaction(self._connection) as cursor:
                doomed = "SELECT seq FROM events ORDER BY seq LIMIT ?"
                cursor.execute(f"DELETE FROM events WHERE seq IN ({doomed})", (max(int(count * share), 1),))
            if count <= 1:
                break
        self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page
        self._checkpoint()
        return before - self._waiting()

    def used_bytes(self) -> int:
        """Bytes of the file that are in use; the write-ahead log beside it has at most a few MB more."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def close(self) -> None:
        """Close the file; the next run may open it."""
        with suppress(sqlite3.Error):
            self._checkpoint()
        self._connection.close()
        self._claim.close()

    def _checkpoint(self) -> None:
        """Move the log into the file, as far as readers allow, so that the file shrinks."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _waiting(self) -> int:
        (count,) = self._connection.execute("SELECT count(DISTINCT seq) FROM outbox").fetchone()
        return int(count)


class Outbox:
    """The events that wait for one destination, oldest first; for the thread that sends them.

    The store must be open. Raises: sqlite3.Error, as do its methods.
    """

    def __init__(self, path: Path, destination: str) -> None:
        self._destination = destination
        self._connection = connect(path)
        # A power cut may bring back an event that was sent; it is sent again with the same id.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def next(self, after: int = 0) -> tuple[StoredEvent, bytes | None] | None:
        """The oldest event with a larger `seq` than `after`, and its JPEG snapshot; None if no event waits."""
        row = self._connection.execute(
            "SELECT events.seq, json, jpeg FROM outbox JOIN events USING (seq) LEFT JOIN snapshots USING (seq) "
            "WHERE destination = ? AND seq > ? ORDER BY seq LIMIT 1",
            (self._destination, after),
        ).fetchone()
        return None if row is None else (StoredEvent(row[0], decode_event(row[1])), row[2])

    def sent(self, seq: int) -> None:
        """Take an event out."""
        with transaction(self._connection) as cursor:
            cursor.execute("DELETE FROM outbox WHERE destination = ? AND seq = ?", (self._destination, seq))

    def __len__(self) -> int:
        """How many events wait."""
        query = "SELECT count(*) FROM outbox WHERE destination = ?"
        return int(self._connection.execute(query, (self._destination,)).fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """A transaction that is committed at the end of the block, and undone by an error."""
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e3)
