"""The past on the page: counts since midnight, people over 24 hours, events, snapshots, clips, and drawn shapes."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.recordings.names import recording_path
from mmpnet.runtime.sinks.file_names import in_file_name
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.drawn_shape import DrawnShape, KnownShape, NamedShape
from mmpnet.runtime.web.history import History, local_midnight
from mmpnet.runtime.web.listen import Address, phone_url
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import Past, ServeSink

NOW = datetime(2026, 11, 29, 14, 7, tzinfo=timezone.utc)
TOKEN = "open sesame"
MODEL = ServedModel("person-320", ("background", "person"), "auto", "cpu")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def an_event(number: int, kind: Any, at: datetime, **fields: Any) -> CameraEvent:
    told = {"camera": "front door", "stream": 0, "track": number, "class_name": "person", **fields}
    return CameraEvent(id=f"id{number}", event=kind, at=at, **told)


def store_of(path: Path, *events: CameraEvent, jpeg: bytes | None = None) -> None:
    store = EventStore(path)
    store.add([(event, jpeg if event.snapshot else None) for event in events])
    store.close()


def history_of(path: Path, *, now: datetime = NOW, recordings: Path | None = None) -> History:
    return History(path, recordings=recordings, in_file_name=in_file_name, now=lambda: now)


# --- counts ---


def test_lines_count_since_midnight_and_yesterday_does_not(tmp_path: Path) -> None:
    crossed = [
        an_event(n, "crossed", at, line="entrance", direction=way)
        for n, (at, way) in enumerate(
            [
                (NOW - timedelta(hours=15), "in"),
                (NOW - timedelta(hours=3), "in"),
                (NOW - timedelta(hours=2), "in"),
                (NOW - timedelta(hours=1), "out"),
            ]
        )
    ]
    store_of(tmp_path / "events.db", *crossed, an_event(9, "entered", NOW, zone="till", direction="in"))
    status = history_of(tmp_path / "events.db").status(["front door", "yard"])
    front, yard = status.cameras
    assert (front.in_count, front.out_count) == (2, 1), "lines count; zones only where there are no lines"
    assert (yard.in_count, yard.out_count, yard.appeared) == (None, None, 0)


def test_zones_count_where_there_are_no_lines(tmp_path: Path) -> None:
    visits = [an_event(n, "entered", NOW - timedelta(minutes=n), zone="till", direction="in") for n in range(3)]
    store_of(tmp_path / "events.db", *visits, an_event(7, "left", NOW, zone="till", direction="out"))
    (front,) = history_of(tmp_path / "events.db").status(["front door"]).cameras
    assert (front.in_count, front.out_count) == (3, 1)


def test_people_of_24_hours_are_in_their_quarter_of_an_hour(tmp_path: Path) -> None:
    moments = [NOW, NOW - timedelta(minutes=8), NOW - timedelta(hours=23, minutes=50), NOW - timedelta(hours=25)]
    store_of(tmp_path / "events.db", *[an_event(n, "appeared", at) for n, at in enumerate(moments)])
    status = history_of(tmp_path / "events.db").status(["front door"])
    people = status.cameras[0].people
    assert len(people) == 96
    assert people[-1] == 1, "14:00 to 14:15"
    assert people[-2] == 1, "13:45 to 14:00"
    assert sum(people) == 3, "what is older than 24 hours is gone"
    assert status.until == "2026-11-29T14:15:00+00:00"
    assert status.cameras[0].appeared == 2, "today"


def test_a_day_passes_and_the_counts_begin_again_at_midnight(tmp_path: Path) -> None:
    start = datetime(2026, 11, 28, 20, 30, tzinfo=timezone.utc)
    hourly = [an_event(n, "crossed", start + timedelta(hours=n), line="e", direction="in") for n in range(12)]
    store_of(tmp_path / "events.db", *hourly)
    counts = [
        history_of(tmp_path / "events.db", now=start + timedelta(hours=n)).status(["front door"]).cameras[0].in_count
        for n in range(12)
    ]
    assert counts == [12, 12, 12, 12, 8, 8, 8, 8, 8, 8, 8, 8], "the store of this test knows the future"


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        ("2026-10-25T23:30:00+01:00", "2026-10-25T00:00:00+02:00"),  # a day of 25 hours
        ("2026-03-29T23:30:00+02:00", "2026-03-29T00:00:00+01:00"),  # a day of 23 hours
        ("2026-10-25T00:00:00+02:00", "2026-10-25T00:00:00+02:00"),
        ("2026-10-24T23:59:59+02:00", "2026-10-24T00:00:00+02:00"),
    ],
)
def test_midnight_is_local_also_when_clocks_change(now: str, midnight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert local_midnight(datetime.fromisoformat(now)) == datetime.fromisoformat(midnight)


def test_the_last_events_come_newest_first_with_their_clips(tmp_path: Path) -> None:
    clip = recording_path(tmp_path / "rec", "front-door", NOW - timedelta(seconds=65), suffix=".mp4")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"mp4")
    os.utime(clip, (NOW.timestamp() - 40, NOW.timestamp() - 40))
    store_of(
        tmp_path / "events.db",
        an_event(1, "appeared", NOW - timedelta(minutes=30)),
        an_event(2, "appeared", NOW - timedelta(seconds=60), snapshot=True, box=(0.1, 0.2, 0.3, 0.4)),
        an_event(3, "gone", NOW - timedelta(seconds=50)),
        an_event(4, "appeared", NOW - timedelta(seconds=2)),
    )
    events = history_of(tmp_path / "events.db", recordings=tmp_path / "rec").status(["front door"]).events
    assert [event["id"] for event in events] == ["id4", "id2", "id1"], "gone is no news on the page"
    name = "front-door/2026-11-29/front-door-2026-11-29T14-05-55+0000.mp4"
    assert [event["clip"] for event in events] == [None, name, None]


# --- over HTTP ---


@dataclass
class Site:
    sink: ServeSink
    saved: list[DrawnShape]

    def ask(self, path: str, *, token: bool = True, **how: Any) -> tuple[int, bytes, Any]:
        headers = {**({"Authorization": f"Bearer {TOKEN}"} if token else {}), **how.pop("headers", {})}
        request = urllib.request.Request(self.sink.url + path, headers=headers, **how)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read(), refusal.headers


class Settings:
    """Settings that keep what the page changes."""

    def __init__(self) -> None:
        self.saved: list[DrawnShape] = []

    def shapes(self) -> list[KnownShape]:
        return [KnownShape(one.camera, one.kind, one.name, (("0%", "1"),)) for one in self.saved]

    def save(self, shape: DrawnShape) -> str:
        if shape.name == "taken":
            raise MmpnetError("site.toml: there is a line 'taken'; choose another name")
        self.saved.append(shape)
        return "Saved."

    def remove(self, shape: NamedShape) -> str:
        self.saved = [one for one in self.saved if one.name != shape.name]
        return "Removed."


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A page with one event, its snapshot and its clip, and settings to save shapes to."""
    at = datetime.now(timezone.utc) - timedelta(seconds=60)
    clip = recording_path(tmp_path / "rec", "front-door", at - timedelta(seconds=5), suffix=".mp4")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(bytes(range(200)))
    (tmp_path / "rec" / "secret.txt").write_text("secret")
    store_of(tmp_path / "events.db", an_event(1, "appeared", at, snapshot=True), jpeg=b"a jpeg")
    settings = Settings()
    past = Past(tmp_path / "events.db", tmp_path / "rec", settings)
    sink = ServeSink("127.0.0.1:0", MODEL, token=TOKEN, past=past)
    sink.started(Summary(sources=[SourceCounts("front door", live=True)]))
    yield Site(sink, settings.saved)
    sink.close()


def test_history_snapshot_clip_and_ndjson_are_served(site: Site) -> None:
    (event,) = json.loads(site.ask("history")[1])["events"]
    assert site.ask(f"event.jpg?id={event['id']}")[:2] == (200, b"a jpeg")
    assert site.ask("event.jpg?id=none")[0] == 404
    code, content, headers = site.ask(f"clips/{event['clip'].replace('+', '%2B')}")
    assert (code, content, headers["Content-Type"]) == (200, bytes(range(200)), "video/mp4")
    code, content, _ = site.ask(f"clips/{event['clip'].replace('+', '%2B')}", headers={"Range": "bytes=10-19"})
    assert (code, content) == (206, bytes(range(10, 20))), "browsers jump within a clip"
    lines = site.ask("events.ndjson")[1].splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["appeared"]
    assert site.ask("events.ndjson?limit=-1")[0] == 400


@pytest.mark.parametrize(
    "path", ["clips/x/2026-11-29/secret.txt", "clips/../rec/secret.txt", "clips/%2e%2e/%2e%2e/events.db"]
)
def test_nothing_but_clips_leaves_the_folder(site: Site, path: str) -> None:
    code, content, _ = site.ask(path)
    assert code == 404
    assert b"secret" not in content.replace(b"secret.txt", b"")


@pytest.mark.parametrize("path", ["history", "event.jpg?id=id1", "events.ndjson", "clips/a/b/c.mp4"])
def test_the_past_needs_the_token_too(site: Site, path: str) -> None:
    assert site.ask(path, token=False)[0] == 401


def test_a_browser_without_the_token_gets_a_form_and_other_clients_a_line(site: Site) -> None:
    code, content, headers = site.ask("", token=False, headers={"Accept": "text/html,*/*"})
    assert code == 401
    assert b'<input id="token"' in content
    assert "form-action 'self'" in headers["Content-Security-Policy"]
    code, content, _ = site.ask("", token=False)
    assert (code, b"<" in content) == (401, False)


SHAPE = {"camera": "front door", "kind": "line", "name": "door", "points": [[0, 50], [100, 52.5]]}
OWN = {"X-Mmpnet": "page"}


def draw(site: Site, shape: dict[str, Any], headers: dict[str, str] = OWN, *, token: bool = True) -> tuple[int, str]:
    code, content, _ = site.ask("shape", token=token, method="POST", data=json.dumps(shape).encode(), headers=headers)
    return code, content.decode()


def test_shapes_are_listed_and_removed_with_the_token_from_the_own_page_only(site: Site) -> None:
    draw(site, SHAPE)
    assert json.loads(site.ask("shapes")[1]) == [
        {"camera": "front door", "kind": "line", "name": "door", "points": [["0%", "1"]]}
    ]
    assert site.ask("shapes", token=False)[0] == 401
    named = json.dumps({"camera": "front door", "name": "door"}).encode()
    for refused in (401, 403):
        token, headers = refused != 401, OWN if refused == 401 else {}
        assert site.ask("shape", token=token, method="DELETE", data=named, headers=headers)[0] == refused
    assert len(json.loads(site.ask("shapes")[1])) == 1
    code, content, _ = site.ask("shape", method="DELETE", data=named, headers=OWN)
    assert (code, json.loads(content)) == (200, {"text": "Removed."})
    assert json.loads(site.ask("shapes")[1]) == []


def test_a_drawn_line_is_saved_with_the_token_and_told_as_an_option(site: Site) -> None:
    code, content = draw(site, SHAPE)
    assert code == 200
    assert json.loads(content) == {
        "saved": True,
        "option": "--line 'door=0.0%,50.0%,100.0%,52.5%'",
        "text": "Saved.",
    }
    assert [shape.name for shape in site.saved] == ["door"]


def test_a_shape_is_not_saved_without_the_token_or_from_another_site(site: Site) -> None:
    assert draw(site, SHAPE, token=False)[0] == 401
    assert draw(site, SHAPE, headers={})[0] == 403
    assert site.saved == []


@pytest.mark.parametrize(
    ("change", "code", "fault"),
    [
        ({"points": [[0, 0]]}, 400, "expected 2 for a line"),
        ({"kind": "zone", "points": [[0, 0], [1, 1], [0, 0]]}, 400, "3 or more for a zone"),
        ({"points": [[0, 0], [101, 0]]}, 400, "outside the image"),
        ({"name": "a=b"}, 400, "without = and /"),
        ({"name": " "}, 400, "1 to 60 characters"),
        ({"camera": "attic"}, 400, "no camera 'attic'"),
        ({"extra": 1}, 400, "extra"),
        ({"name": "taken"}, 409, "choose another name"),
        ({"name": "x" * 9000}, 413, "more than 8192 bytes"),
    ],
)
def test_what_is_no_shape_is_refused(site: Site, change: dict[str, Any], code: int, fault: str) -> None:
    refused, content = draw(site, {**SHAPE, **change})
    assert refused == code
    assert fault in content
    assert site.saved == []


def test_without_a_store_there_is_no_past_and_a_shape_is_only_told() -> None:
    sink = ServeSink("127.0.0.1:0", MODEL, token=TOKEN)
    sink.started(Summary(sources=[SourceCounts("front door", live=True)]))
    try:
        site = Site(sink, [])
        assert site.ask("history")[:2] == (200, b"null")
        assert site.ask("events.ndjson")[0] == 404
        code, content = draw(site, SHAPE)
        assert (code, json.loads(content)["saved"]) == (200, False)
    finally:
        sink.close()


# --- the address for a phone ---


def test_the_address_for_a_phone_has_a_number_of_this_machine_and_the_token() -> None:
    url = phone_url(Address("0.0.0.0", 8000), "a b&c")
    assert url is not None
    assert not url.startswith("http://0.0.0.0:")
    assert url.endswith(":8000/?token=a+b%26c")
    assert phone_url(Address("192.0.2.7", 8000), None) == "http://192.0.2.7:8000/"
    assert phone_url(Address("127.0.0.1", 8000), "x") is None
