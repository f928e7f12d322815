"""The SQLite file of the event store: its schema, how it is opened, and what happens if it is damaged."""

import os
import sqlite3
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.system.progress import Notice

APPLICATION_ID = 0x6D6D7065
"""Marks the file as an event store, as SQLite keeps the same number in its header."""
SCHEMA_VERSION = 1
BUSY_S = 10.0
WAL_LIMIT_BYTES = 4 << 20
_TABLES = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    camera TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    class TEXT,
    line TEXT,
    zone TEXT,
    direction TEXT,
    json BLOB NOT NULL
);
CREATE INDEX events_by_time ON events (at_ms);
CREATE INDEX events_by_camera ON events (camera, at_ms);
CREATE TABLE snapshots (seq INTEGER PRIMARY KEY REFERENCES events (seq) ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE TABLE outbox (
    destination TEXT NOT NULL,
    seq INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    PRIMARY KEY (destination, seq)
) WITHOUT ROWID;
CREATE INDEX outbox_by_event ON outbox (seq);
"""

_TOTALS = """
CREATE TABLE totals (
    camera TEXT NOT NULL,
    place TEXT NOT NULL,
    direction TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (camera, place, direction)
) WITHOUT ROWID;
INSERT INTO totals SELECT camera, coalesce(line, zone), direction, count(*) FROM events
    WHERE coalesce(line, zone) IS NOT NULL AND direction IS NOT NULL GROUP BY 1, 2, 3;
"""
"""How often each line and zone was passed since the store began; they stay when old events are deleted."""


def open_database(path: Path, notify: Notice) -> None:
    """Make the store if there is none, and check the one that there is.

    A store that is damaged is renamed, and a new one is made; `notify` gets one line about it.

    Raises: OutputError if the file is something else, is of a newer version, or cannot be written.
    """
    if path.exists() and path.stat().st_size:
        _require_store(path)
        fault = _damage(path)
        if fault is not None:
            aside = path.with_name(f"{path.name}.damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}")
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{path}{suffix}", f"{aside}{suffix}")  # noqa: PTH105
            path.replace(aside)
            notify(f"{path}: is damaged ({fault}); it is kept as {aside.name}, and a new store was made")
    try:
        with closing(connect(path)) as connection:
            _make_tables(connection, path)
    except sqlite3.Error as error:
        raise store_error(path, error) from error


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection for one thread at a time; transactions are begun explicitly. Raises: sqlite3.Error."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    if not read_only:
        # Before the first table: files shrink only if they were made so.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # An event counts as stored only when it survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    return connection


def store_error(path: Path, error: sqlite3.Error) -> OutputError:
    """The error of SQLite as one line for a user."""
    return OutputError(f"{path}: events cannot be stored ({error}); free space, or choose another file")


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise OutputError(
            f"{path}: is an event store of version {version}, expected {SCHEMA_VERSION}; "
            "choose another file, or install a newer mmpnet"
        )
    if version == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
        )
    # Older versions of mmpnet leave these tables alone, so they need no new number.
    connection.execute("CREATE TABLE IF NOT EXISTS clock (believed_s REAL NOT NULL)")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'totals'").fetchone() is None:
        connection.executescript(f"BEGIN IMMEDIATE; {_TOTALS} COMMIT")


def _require_store(path: Path) -> None:
    """Raises: OutputError for a file that is not an event store, which must not be touched."""
    try:
        with path.open("rb") as file:
            header = file.read(72)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); choose another file") from error
    is_sqlite = header.startswith(b"SQLite format 3\0")
    application_id = int.from_bytes(header[68:72], "big")
    # A new file has no number until its first transaction is complete, and it may still be in the WAL file.
    if not is_sqlite or application_id not in (0, APPLICATION_ID) or (application_id == 0 and _has_tables(path)):
        raise OutputError(f"{path}: is not an event store; choose another file")


def _has_tables(path: Path) -> bool:
    """Whether a database without the number of an event store has tables, as a database of another program."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(application_id != APPLICATION_ID and count)


def _damage(path: Path) -> str | None:
    """What is wrong with a store; None if nothing is."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return None  # it cannot be opened or is locked, which is not damage
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if result == "ok" else str(result).splitlines()[0]
