"""Read the event store, for the page and for anybody else, while a run writes to it."""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmpnet.runtime.events.database import connect
from mmpnet.runtime.events.event import EventKind, decode_event
from mmpnet.runtime.events.store import StoredEvent


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events there were of one kind, camera, class, line or zone, and direction."""

    camera: str
    event: EventKind
    class_name: str | None
    line: str | None
    zone: str | None
    direction: str | None
    count: int


class EventReader:
    """Reads the events of a store. Threads may share it; each gets a connection of its own.

    The store must exist; an open EventStore has made it. All methods raise sqlite3.Error if the file is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def latest(
        self,
        limit: int = 50,
        *,
        camera: str | None = None,
        kinds: Sequence[EventKind] = (),
        before_seq: int | None = None,
    ) -> list[StoredEvent]:
        """The newest events, newest first: of one camera and of some kinds, or all; older than `before_seq`."""
        wheres, values = _conditions(camera=camera, kinds=kinds)
        if before_seq is not None:
            wheres.append("seq < ?")
            values.append(before_seq)
        query = f"SELECT seq, json FROM events WHERE {' AND '.join(wheres)} ORDER BY seq DESC LIMIT ?"
        rows = self._connection.execute(query, (*values, limit)).fetchall()
        return [StoredEvent(seq, decode_event(line)) for seq, line in rows]

    def snapshot(self, event_id: str) -> bytes | None:
        """The JPEG of an event; None if there is none."""
        query = "SELECT jpeg FROM snapshots JOIN events USING (seq) WHERE id = ?"
        row = self._connection.execute(query, (event_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def counts(self, since: datetime, until: datetime | None = None, *, camera: str | None = None) -> list[EventCount]:
        """How many events there were from `since` to before `until`, by camera, kind, class, line, zone, direction."""
        wheres, values = _conditions(since=since, until=until, camera=camera)
        columns = "camera, event, class, line, zone, direction"
        query = f"SELECT {columns}, count(*) FROM events WHERE {' AND '.join(wheres)} GROUP BY {columns}"
        return [EventCount(*row) for row in self._connection.execute(query, values)]

    def histogram(
        self,
        since: datetime,
        until: datetime,
        *,
        bucket_s: float,
        kinds: Sequence[EventKind] = ("appeared",),
        camera: str | None = None,
    ) -> list[int]:
        """Number of events in each of the intervals of `bucket_s` seconds from `since` to `until`."""
        wheres, values = _conditions(since=since, until=until, camera=camera, kinds=kinds)
        bucket_ms = round(bucket_s * 1e3)
        counts = [0] * max(-(-(_milliseconds(until) - _milliseconds(since)) // bucket_ms), 0)
        query = f"SELECT (at_ms - ?) / ?, count(*) FROM events WHERE {' AND '.join(wheres)} GROUP BY 1"
        for bucket, count in self._connection.execute(query, (_milliseconds(since), bucket_ms, *values)):
            counts[bucket] = count
        return counts

    def totals(self, camera: str) -> dict[tuple[str, str], int]:
        """How often each line and zone of a camera was passed since the store began, by its name and the direction."""
        query = "SELECT place, direction, count FROM totals WHERE camera = ?"
        return {(place, way): count for place, way, count in self._connection.execute(query, (camera,))}

    def waiting(self) -> dict[str, int]:
        """How many events wait for each destination that has any."""
        return dict(self._connection.execute("SELECT destination, count(*) FROM outbox GROUP BY destination"))

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
        return connection


def _conditions(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    camera: str | None = None,
    kinds: Sequence[EventKind] = (),
) -> tuple[list[str], list[object]]:
    """SQL conditions that are joined by AND, and their values."""
    wheres, values = ["1"], list[object]()
    for condition, value in (
        ("at_ms >= ?", None if since is None else _milliseconds(since)),
        ("at_ms < ?", None if until is None else _milliseconds(until)),
        ("camera = ?", camera),
    ):
        if value is not None:
            wheres.append(condition)
            values.append(value)
    if kinds:
        wheres.append(f"event IN ({', '.join('?' * len(kinds))})")
        values.extend(kinds)
    return wheres, values


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e3)
