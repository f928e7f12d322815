"""Webhooks reach a server that fails, hangs and comes back: each event once, signed, and without blocking a frame."""

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.delivery.sender import OutboxSender, RetryError
from mmpnet.runtime.delivery.webhook import Webhook, signature
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.reader import EventReader
from mmpnet.runtime.events.store import EventStore, StoredEvent
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.pipeline.summary import Summary
from support.store_process import NOON, make_event
from support.webhook_server import WebhookServer

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
QUICK_S = 0.02


@dataclass
class Site:
    """A store, the writer, and the sender to one server."""

    folder: Path
    server: WebhookServer
    timeout_s: float = 10.0
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        store = EventStore(self.folder / "e.sqlite", destinations=["webhook"])
        webhook = Webhook(self.server.url, SECRET, timeout_s=self.timeout_s)
        self.path = store.path
        self.sender = OutboxSender(
            self.path, webhook, notify=self.notices.append, first_wait_s=QUICK_S, longest_wait_s=QUICK_S
        )
        self.writer = StoreWriter(store, stored=[self.sender.wake], now=lambda: NOON)
        self.writer.started(Summary())
        self.sender.start()

    def happen(self, count: int) -> list[str]:
        events = [make_event(number) for number in range(count)]
        for event in events:
            self.writer.put(Happening(event))
        return [event.id for event in events]

    def close(self) -> None:
        self.writer.close()
        self.sender.close()


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    server = WebhookServer()
    yield server
    server.close()


def test_each_event_is_posted_once_with_its_id_and_signature(tmp_path: Path, server: WebhookServer) -> None:
    site = Site(tmp_path, server)
    ids = site.happen(5)
    bodies = server.wait_for(5)
    site.close()
    assert [body["event"]["id"] for body in bodies] == ids
    assert len(server.requests) == 5
    for headers, body in server.requests:
        expected = signature(b"0123456789abcdef", headers["webhook-id"], headers["webhook-timestamp"], body)
        assert headers["webhook-signature"] == expected
        assert headers["content-type"] == "application/json"
    assert EventReader(site.path).waiting() == {}
    assert site.notices == []


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks, in its libraries' tests."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_snapshot_is_posted_as_base64(server: WebhookServer) -> None:
    stored = StoredEvent(1, make_event(0))
    Webhook(server.url, None).deliver(stored, b"\xff\xd8jpeg", newest=True)
    Webhook(server.url, None, snapshots=False).deliver(stored, b"\xff\xd8jpeg", newest=True)
    first, second = server.wait_for(2)
    assert base64.b64decode(first["snapshot_jpeg"]) == b"\xff\xd8jpeg"
    assert "snapshot_jpeg" not in second
    assert "webhook-signature" not in server.requests[0][0], "without a secret"


@pytest.mark.parametrize("status", [500, 503, 401, 404, 429, 302])
def test_a_server_that_fails_gets_the_same_event_again_with_the_same_id(
    tmp_path: Path, server: WebhookServer, status: int
) -> None:
    server.answer = lambda number: status if number < 3 else 200
    site = Site(tmp_path, server)
    ids = site.happen(2)
    bodies = server.wait_for(5)
    site.close()
    assert [body["event"]["id"] for body in bodies] == [ids[0]] * 4 + [ids[1]]
    assert str(status) in site.notices[0]
    assert site.notices[1:] == ["webhook: events arrive again"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_the_server_refuses_does_not_stop_the_others(
    tmp_path: Path, server: WebhookServer, status: int
) -> None:
    server.answer = lambda number: status if number == 0 else 200
    site = Site(tmp_path, server)
    ids = site.happen(2)
    bodies = server.wait_for(2)
    site.close()
    assert [body["event"]["id"] for body in bodies] == ids
    assert f"refused the event {ids[0]}" in site.notices[0]
    assert EventReader(site.path).waiting() == {}


def test_a_server_that_hangs_blocks_no_frame_and_loses_no_event(tmp_path: Path, server: WebhookServer) -> None:
    hung = threading.Event()

    def answer(number: int) -> int | None:
        if number == 0:
            hung.set()
            return None
        return 200

    server.answer = answer
    # It holds for each of the later requests too: an answer that is slower than this would repeat an event.
    site = Site(tmp_path, server, timeout_s=3)
    ids = site.happen(1)
    assert hung.wait(30)
    ids += site.happen(200)  # returns although nothing arrives
    bodies = server.wait_for(202)
    site.close()
    assert [body["event"]["id"] for body in bodies] == [ids[0], *ids]


def test_a_server_that_is_away_gets_everything_when_it_comes_back_even_by_another_run(tmp_path: Path) -> None:
    first = WebhookServer()
    first.close()
    site = Site(tmp_path, first)
    ids = site.happen(3)
    until_s = time.monotonic() + 30
    while not site.notices and time.monotonic() < until_s:
        time.sleep(0.01)
    site.close()
    assert site.notices[-1] == "webhook: 3 events wait in the store for the next run"
    back = WebhookServer(port=first.port)
    site = Site(tmp_path, back)
    assert [body["event"]["id"] for body in back.wait_for(3)] == ids
    site.close()
    back.close()


def test_an_address_or_secret_that_cannot_be_is_one_line() -> None:
    for url in ("ftp://host/x", "host/x", "https://"):
        with pytest.raises(OutputError, match=r"--webhook .*expected an address such as https://host/path"):
            Webhook(url, None)
    with pytest.raises(OutputError, match="the secret is empty"):
        Webhook("https://host/", "")
    with pytest.raises(OutputError, match="is not base64"):
        Webhook("https://host/", "whsec_not base64")


def test_a_server_that_speaks_another_protocol_is_tried_again(tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(RetryError):
        Webhook("http://127.0.0.1:9/", None).deliver(StoredEvent(1, make_event(0)), None, newest=True)
