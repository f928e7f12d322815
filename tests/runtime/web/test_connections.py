"""The server with clients that send nothing, send half a request, or never read."""

import errno
import http.client
import resource
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web import connections
from mmpnet.runtime.web.connections import most_connections, quiet_without_descriptors
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import ServeSink


@pytest.fixture
def url() -> Iterator[str]:
    """The sink of a server that has started."""
    sink = ServeSink("127.0.0.1:0", ServedModel("person-320", ("background", "person"), "auto", "cpu"))
    sink.started(Summary(sources=[SourceCounts("front", live=True, state="live")]))
    yield sink.url
    sink.close()


def connected(url: str, count: int) -> list[socket.socket]:
    address = urlsplit(url)
    return [socket.create_connection((address.hostname, address.port)) for _ in range(count)]


def answers(url: str) -> bool:
    asked = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    asked.request("GET", "/healthz")
    answer = asked.getresponse().read()
    asked.close()
    return b'"healthy"' in answer


def ended_within(client: socket.socket, timeout_s: float) -> bool:
    """Whether the server closes the connection; data before that is ignored."""
    client.settimeout(timeout_s)
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def test_1100_idle_connections_leave_the_health_check_working(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    idle = connected(url, 1100)
    try:
        for _ in range(3):
            assert answers(url)
        open_now = sum(not ended_within(client, 0.01) for client in idle[:: len(idle) // 100])
        assert open_now <= 15, "about 128 of 1,100 are kept"
    finally:
        for client in idle:
            client.close()
    assert capfd.readouterr().err == ""


def test_a_request_that_is_not_whole_in_time_is_cut(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    silent, slow = connected(url, 2)
    slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Sl")
    assert ended_within(silent, 20)
    assert ended_within(slow, 20)
    assert answers(url)


def test_an_answer_may_take_longer_than_a_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    (listener,) = connected(url, 1)
    listener.sendall(b"GET /detections HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert not ended_within(listener, 1.0)
    listener.close()


def test_requests_in_progress_are_never_cut_to_make_room(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 8)
    listeners = connected(url, 8)
    for listener in listeners:
        listener.sendall(b"GET /detections HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert listener.recv(1 << 16).startswith(b"HTTP/1.1 200")
    (late,) = connected(url, 1)
    assert ended_within(late, 20)
    listeners.pop().close()
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        (again,) = connected(url, 1)
        again.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            if again.recv(100).startswith(b"HTTP/1.1 "):
                break
        except ConnectionResetError:
            continue
    else:
        pytest.fail("the place that became free was not given to the next")
    for listener in listeners:
        listener.close()


def test_no_line_is_written_for_a_request_that_is_invalid(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    for client in connected(url, 20):
        client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert ended_within(client, 20)
    assert answers(url)
    assert capfd.readouterr().err == ""


class StalledTransport:
    """The data that is sent to a client that reads only in some turns."""

    def __init__(self, unsent: list[int]) -> None:
        self._unsent = unsent
        self.aborted = False

    def pause_reading(self) -> None:
        """The client requests nothing more."""

    def get_write_buffer_size(self) -> int:
        return self._unsent.pop(0)

    def abort(self) -> None:
        self.aborted = True


class Loop:
    """Calls scheduled functions immediately, up to a depth."""

    def call_later(self, _delay_s: float, call: object) -> None:
        self.next = call


@pytest.mark.parametrize(("unsent", "aborted"), [([100, 60, 30, 30], True), ([100, 90, 50, 20], False)])
def test_a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not(unsent: list[int], aborted: bool) -> None:
    connection = connections.GuardedConnection.__new__(connections.GuardedConnection)
    connection.loop, connection.transport = Loop(), StalledTransport(unsent)  # type: ignore[assignment]
    connection.flow = FlowControl(connection.transport)
    connection.pause_writing()
    for _ in range(3):
        connection._check_progress()
    assert connection.transport.aborted is aborted  # type: ignore[attr-defined]


@pytest.mark.parametrize(("soft", "most"), [(1024, 128), (256, 64), (64, 8)])
def test_the_recorder_keeps_descriptors(soft: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, soft))
    assert most_connections() == most


def test_only_missing_descriptors_are_silent() -> None:
    said: list[object] = []

    class Telling:
        def default_exception_handler(self, context: object) -> None:
            said.append(context)

    quiet_without_descriptors(Telling(), {"exception": OSError(errno.EMFILE, "too many")})  # type: ignore[arg-type]
    assert said == []
    quiet_without_descriptors(Telling(), {"exception": OSError(errno.EIO, "other")})  # type: ignore[arg-type]
    assert len(said) == 1
