"""The event store keeps what it has taken through kills, power cuts, full disks and damage, and within its limits."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.reader import EventReader
from mmpnet.runtime.events.snapshot import Snapshot
from mmpnet.runtime.events.store import DAY, EventStore, Outbox, Retention
from mmpnet.runtime.events.store_writer import MOST_SNAPSHOTS_WAITING, StoreWriter
from mmpnet.runtime.pipeline.summary import Summary
from support.store_process import NOON, make_event

JPEG = b"\xff\xd8" + b"x" * 30_000
PROCESS = Path(__file__).parents[2] / "support" / "store_process.py"


@contextmanager
def opened(
    path: Path, *, destinations: tuple[str, ...] = (), retention: Retention | None = None
) -> Iterator[EventStore]:
    with closing(EventStore(path, destinations=destinations, retention=retention)) as store:
        yield store


def ids_in(path: Path) -> list[str]:
    return [one.event.id for one in reversed(EventReader(path).latest(1_000_000))]


def check_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_events_are_read_as_they_were_stored(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    events = [make_event(number, track=number, zones=("a", "b")) for number in range(5)]
    with opened(path) as store:
        store.add([(event, JPEG if event.track == 3 else None) for event in events])
        reader = EventReader(path)
        assert [one.event for one in reader.latest()] == events[::-1]
        assert [one.event for one in reader.latest(2)] == [events[4], events[3]]
        before = reader.latest(2)[-1].seq
        assert [one.event for one in reader.latest(2, before_seq=before)] == [events[2], events[1]]
        assert reader.snapshot(events[3].id) == JPEG
        assert reader.snapshot(events[2].id) is None
        assert reader.snapshot("unknown") is None


def test_an_event_with_a_known_id_is_not_stored_twice(tmp_path: Path) -> None:
    event = make_event(0)
    with opened(tmp_path / "e.sqlite", destinations=("mqtt",)) as store:
        store.add([(event, None), (event, JPEG)])
        store.add([(event, JPEG)])
        assert len(ids_in(store.path)) == 1
        with closing(Outbox(store.path, "mqtt")) as outbox:
            assert len(outbox) == 1


def test_the_reader_counts_and_filters(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    with opened(path) as store:
        store.add([(make_event(n, event="crossed", line="door", direction="in"), None) for n in (0, 1, 70)])
        store.add([(make_event(n, event="crossed", line="door", direction="out"), None) for n in (2, 200)])
        store.add([(make_event(3, camera="back", class_name="dog"), None)])
        reader = EventReader(path)
        hour = timedelta(hours=1)
        found = {(one.camera, one.event, one.line, one.direction): one.count for one in reader.counts(NOON)}
        assert found == {
            ("door", "crossed", "door", "in"): 3,
            ("door", "crossed", "door", "out"): 2,
            ("back", "appeared", None, None): 1,
        }
        (only,) = reader.counts(NOON + hour, NOON + 2 * hour)
        assert (only.direction, only.count) == ("in", 1)
        assert [one.class_name for one in reader.counts(NOON, camera="back")] == ["dog"]
        assert [one.event.camera for one in reader.latest(kinds=("appeared",))] == ["back"]
        assert reader.histogram(NOON, NOON + 4 * hour, bucket_s=3600, kinds=("crossed",)) == [3, 1, 0, 1]
        assert reader.histogram(NOON, NOON + 4 * hour, bucket_s=3600, camera="back") == [1, 0, 0, 0]


def test_an_outbox_gives_each_event_until_it_is_sent(tmp_path: Path) -> None:
    path, events = tmp_path / "e.sqlite", [make_event(number) for number in range(3)]
    with opened(path, destinations=("mqtt", "webhook")) as store:
        store.add([(event, JPEG) for event in events])
        with closing(Outbox(path, "mqtt")) as outbox:
            first = outbox.next()
            assert first is not None
            assert (first[0].event, first[1]) == (events[0], JPEG)
            assert outbox.next() == first, "not sent yet"
            outbox.sent(first[0].seq)
            after = outbox.next()
            assert after is not None
            assert after[0].event == events[1]
            skipped = outbox.next(after[0].seq)
            assert skipped is not None
            assert skipped[0].event == events[2]
        assert EventReader(path).waiting() == {"mqtt": 2, "webhook": 3}
    with opened(path, destinations=("webhook",)) as store:
        assert EventReader(path).waiting() == {"webhook": 3}, "a destination that is gone waits for nothing"


def test_old_events_are_deleted_with_their_snapshots(tmp_path: Path) -> None:
    with opened(tmp_path / "e.sqlite", destinations=("mqtt",), retention=Retention(2.0, None)) as store:
        store.add([(make_event(0, at=NOON - 3 * DAY), JPEG), (make_event(1, at=NOON - 1 * DAY), JPEG)])
        assert store.prune(NOON) == 1, "one of them was not sent yet"
        (left,) = EventReader(store.path).latest()
        assert left.event.at == NOON - 1 * DAY
        assert EventReader(store.path).snapshot(left.event.id) == JPEG
        check_whole(store.path)


def test_the_file_stays_within_its_bytes_and_shrinks(tmp_path: Path) -> None:
    limit = 2 << 20
    with opened(tmp_path / "e.sqlite", retention=Retention(None, limit)) as store:
        for batch in range(10):
            store.add([(make_event(20 * batch + number), JPEG) for number in range(20)])
            store.prune(NOON)
            assert store.used_bytes() <= limit
        kept = ids_in(store.path)
        assert 20 < len(kept) < 70
        assert EventReader(store.path).latest(1)[0].event.at == NOON + timedelta(minutes=199), "the newest are kept"
    assert store.path.stat().st_size < 1.2 * limit


def test_a_clock_that_is_a_year_ahead_at_the_start_deletes_no_event(tmp_path: Path) -> None:
    path, notices = tmp_path / "e.sqlite", Notices()
    with opened(path) as store:
        store.add([(make_event(0, at=NOON), JPEG)])
    for at in (NOON, NOON + 365 * DAY, NOON + DAY, NOON + 365 * DAY):
        store = EventStore(path, retention=Retention(30.0, None))
        writer = StoreWriter(store, notify=notices, now=lambda at=at: at)  # type: ignore[misc]
        writer.started(Summary())
        writer.put(happening(1))
        writer.close()
    assert len(ids_in(path)) == 5
    jumps = [f"{path}: the clock jumped by +{24 * days}.0 h" for days in (365, 364)]
    assert [text.partition(";")[0] for text in notices.texts] == jumps
    store = EventStore(path, retention=Retention(30.0, None))
    assert store.prune(NOON + 365 * DAY) == 0
    store.close()
    assert not ids_in(path), "a time that is certain does"


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="days must be above 0, got 0"):
        Retention(days=0)
    with pytest.raises(ValueError, match="bytes must be at least 1048576, got 5"):
        Retention(most_bytes=5)


# --- what goes wrong ---


class StoringProcess:
    """A process that stores events on request, and the ids that it has told to be stored."""

    def __init__(self, path: Path) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(PROCESS.parents[1])])}
        command = [sys.executable, str(PROCESS), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._output = b""

    def ask_for(self, count: int) -> None:
        self._stdin.write(b"\n" * count)
        self._stdin.flush()

    def wait_for(self, count: int) -> None:
        until_s = time.monotonic() + 60
        while len(self.stored()) < count and time.monotonic() < until_s:
            time.sleep(0.005)

    def stored(self) -> list[str]:
        self._output += self._stdout.read() or b""
        return self._output.decode().split("\n")[:-1]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._stdout.close()
        with suppress(BrokenPipeError):
            self._stdin.close()


@pytest.fixture
def storing(tmp_path: Path) -> Iterator[StoringProcess]:
    process = StoringProcess(tmp_path / "e.sqlite")
    yield process
    process.stop()


def test_nothing_that_was_stored_is_lost_by_a_kill(tmp_path: Path, storing: StoringProcess) -> None:
    storing.ask_for(1000)
    storing.wait_for(23)
    storing.process.kill()
    storing.process.wait()
    told = storing.stored()[-20:]
    with opened(tmp_path / "e.sqlite", destinations=("mqtt",)) as store:
        kept = ids_in(store.path)
        assert len(told) == 20
        assert told in (kept[-20:], kept[-21:-1]), "all that it told, and at most the one that it was about to tell"
        store.add([(make_event(0), None)])
        check_whole(store.path)


def tear_next_transaction(log: Path, rng: random.Random) -> None:
    """Half of the transaction that comes next has reached the disk: garbage after the last complete one."""
    content = bytearray(log.read_bytes())
    frame_bytes = 24 + int.from_bytes(content[8:12], "big")
    end = 32
    for begin in range(32, len(content) - frame_bytes + 1, frame_bytes):
        header = content[begin : begin + 24]
        if header[8:16] != content[16:24]:
            break  # a frame of an earlier log, which is overwritten
        if any(header[4:8]):
            end = begin + frame_bytes
    content[end : end + 6000] = rng.randbytes(rng.randint(1, 6000))
    log.write_bytes(content)


def test_a_power_cut_at_any_moment_leaves_a_whole_store(tmp_path: Path, storing: StoringProcess) -> None:
    """The files are copied while the process stands still, as a disk is when the power goes."""
    rng, path, copies = random.Random(5), tmp_path / "e.sqlite", tmp_path / "copies"
    copies.mkdir()
    storing.ask_for(5)
    storing.wait_for(5)
    for number in range(12):
        storing.ask_for(15)
        time.sleep(rng.random() * 0.05)
        storing.process.send_signal(signal.SIGSTOP)
        copy = copies / f"{number}.sqlite"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        last = storing.stored()[-1]
        storing.process.send_signal(signal.SIGCONT)
        if number % 2:
            tear_next_transaction(Path(f"{copy}-wal"), rng)
        with opened(copy, destinations=("mqtt",)) as store:
            assert last in ids_in(copy)[-2:]
            check_whole(copy)
            store.add([(make_event(0), None)])
    assert not list(copies.glob("*damaged*"))


@dataclass
class Notices:
    texts: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> None:
        self.texts.append(text)


def happening(number: int, *, event: CameraEvent | None = None) -> Happening:
    pixels = np.full((8, 8, 3), number % 256, np.uint8)
    event = event or make_event(number, snapshot=True, box=(0.0, 0.0, 1.0, 1.0))
    return Happening(event, Snapshot(pixels, (0.0, 0.0, 1.0, 1.0)))


def set_most_pages(store: EventStore, pages: int) -> None:
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """SQLite reports a file that may not grow as it reports a full disk."""
    store, notices, stored = EventStore(tmp_path / "e.sqlite"), Notices(), threading.Event()
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    set_most_pages(store, pages + 2)
    writer = StoreWriter(store, stored=[stored.set], notify=notices, retry_s=0.02, now=lambda: NOON)
    writer.started(Summary())
    sent = [happening(number) for number in range(40)]
    for one in sent:
        assert writer.put(one)
    until_s = time.monotonic() + 20
    while not notices.texts and time.monotonic() < until_s:
        time.sleep(0.01)
    assert "database or disk is full" in notices.texts[0]
    set_most_pages(store, 1_000_000)
    assert stored.wait(20)
    writer.close()
    assert ids_in(store.path) == [one.event.id for one in sent]
    assert notices.texts[-1].endswith("events are stored again")
    assert len(notices.texts) == 2, "one line each, not one per attempt"


def test_a_disk_that_stays_full_is_an_error_and_the_old_events_stay(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "e.sqlite")
    store.add([(make_event(0), None)])
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    set_most_pages(store, pages)
    writer = StoreWriter(store, retry_s=0.02, now=lambda: NOON)
    writer.started(Summary())
    for number in range(200):
        writer.put(happening(number))
    with pytest.raises(OutputError, match=r"e\.sqlite: \d+ events could not be stored \(database or disk is full\)"):
        writer.close()
    assert EventReader(store.path).latest()[-1].event.at == NOON
    check_whole(store.path)


def test_a_writer_that_cannot_keep_up_leaves_snapshots_out_but_no_event(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "e.sqlite")
    writer = StoreWriter(store, now=lambda: NOON)
    count = MOST_SNAPSHOTS_WAITING + 5
    for number in range(count):
        writer.put(happening(number))
    writer.started(Summary())
    writer.close()
    newest_first = EventReader(store.path).latest(1000)
    assert len(newest_first) == count
    assert [one.event.snapshot for one in newest_first[:6]] == [False] * 5 + [True]


def test_a_damaged_store_is_kept_aside_and_a_new_one_is_made(tmp_path: Path) -> None:
    path, notices = tmp_path / "e.sqlite", Notices()
    with opened(path) as store:
        store.add([(make_event(number), JPEG) for number in range(50)])
    content = bytearray(path.read_bytes())
    content[4096 : 20 * 4096] = os.urandom(19 * 4096)
    path.write_bytes(content)
    with closing(EventStore(path, notify=notices)) as store:
        store.add([(make_event(0), JPEG)])
        assert len(ids_in(path)) == 1
    (aside,) = (found for found in tmp_path.glob("e.sqlite.damaged-*") if found.suffix[-4:] not in ("-wal", "-shm"))
    assert aside.read_bytes() == content
    assert "is damaged" in notices.texts[0]
    assert aside.name in notices.texts[0]


@pytest.mark.parametrize("content", [b"my diary\n", b"\x89PNG" + b"\0" * 100, b"SQLite format 3\0"])
def test_a_file_that_is_something_else_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    if content.startswith(b"SQLite"):
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE diary (day TEXT)")
            connection.commit()
        content = path.read_bytes()
    with pytest.raises(OutputError, match="other: is not an event store; choose another file"):
        EventStore(path)
    assert path.read_bytes() == content


def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(OutputError, match="is an event store of version 9, expected 1"):
        EventStore(path)


def test_two_runs_do_not_share_a_store(tmp_path: Path) -> None:
    with opened(tmp_path / "e.sqlite"), pytest.raises(OutputError, match="another run writes to it"):
        EventStore(tmp_path / "e.sqlite")


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere/e\.sqlite: events cannot be stored"):
        EventStore(tmp_path / "nowhere" / "e.sqlite")
