"""The server of a run: its responses, its access control, and that the run never waits for it."""

import asyncio
import http.client
import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MissingExtraError, OutputError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result, result_as_dict
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event, State, distinct_names
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.runtime.web import app
from mmpnet.runtime.web import event_stream as news
from mmpnet.runtime.web import mjpeg as live_images
from mmpnet.runtime.web.notifier import Notifier
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import ServeSink
from mmpnet.runtime.web.source_stats import HISTORY_S, SourceStats
from mmpnet.system.machine import resident_memory_mb
from support.fake_capture import FakeCapture
from support.frames import make_noise
from support.results import make_result

NAMES = ("background", "person", "dog")
MODEL = ServedModel("person-320", NAMES, "auto", "cpu")
TOKEN = "open sésame"
PATHS = ("/", "/stream.mjpg", "/snapshot.jpg", "/detections", "/status", "/metrics", "/healthz", "/nowhere")
SIZE_HW = (48, 64)

MakeResult = Callable[..., Result]


@dataclass
class Serving:
    """Does what a run does with its sink, step by step: results of uniform gray frames, one call at a time."""

    sink: ServeSink
    sources: list[SourceCounts]
    make_result: MakeResult
    index: int = 0
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def stream(self, path: str) -> http.client.HTTPResponse:
        """A response that has started and may be endless; closed after the test."""
        self.connections.append(connect(self.sink.url))
        self.connections[-1].request("GET", path)
        return self.connections[-1].getresponse()

    def result(
        self,
        stream: int = 0,
        *,
        gray: int = 90,
        size_hw: tuple[int, int] = SIZE_HW,
        counts: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Result:
        """Write the next result, annotated if the sink requests it."""
        frame_bgr = np.full((*size_hw, 3), gray, np.uint8)
        found = two_people_and_a_dog()
        plain = self.make_result(frame_bgr, index=self.index, kind="camera", detections=found, counts=counts)
        source = self.sources[stream].source
        frame = replace(plain.frame, stream=stream, source=source, captured_s=time.perf_counter() - 0.05)
        result = replace(plain, frame=frame, **changes)
        canvas = frame_bgr.copy() if self.sink.wants_annotated else None
        self.sources[stream].captured += 1
        self.sources[stream].processed += 1
        self.index += 1
        assert self.sink.write(result, canvas)
        if canvas is not None:
            canvas[:] = 255  # the pipeline overwrites the canvas
        return result

    def results_until(self, met: Callable[[], object], **how: Any) -> None:
        """Write a result every 20 ms until a condition is met."""
        wait_for(met, meanwhile=lambda: self.result(**how))


def two_people_and_a_dog() -> Detections:
    boxes = np.array([[1, 2, 30, 40], [5, 5, 9, 9], [0, 0, 6, 6]], np.float32)
    return Detections(boxes, np.array([0.9, 0.5, 0.25], np.float32), np.array([1, 1, 2], np.int64))


def wait_for(met: Callable[[], Any], *, meanwhile: Callable[[], object] = lambda: None, timeout_s: float = 20) -> Any:
    """The result of `met`, once it is true."""
    until_s = time.perf_counter() + timeout_s
    while not (found := met()):
        assert time.perf_counter() < until_s, f"still {found!r}"
        meanwhile()
        time.sleep(0.02)
    return found


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def event(source: str, kind: State, reason: str = "") -> Event:
    return Event(source, kind, datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC), reason)


@pytest.fixture
def start() -> Iterator[Callable[..., Serving]]:
    """(*source names, address, model, ...) -> a started run of live cameras; closed afterwards."""
    runs: list[Serving] = []

    def begin(
        *names: str, model: ServedModel = MODEL, address: str = "127.0.0.1:0", live: bool = True, **how: Any
    ) -> Serving:
        sink = ServeSink(address, model, **how)
        sources = [SourceCounts(name, live=live, state="live") for name in names or ("front",)]
        sink.started(Summary(sources=sources))
        runs.append(Serving(sink, sources, make_result))
        return runs[-1]

    yield begin
    for serving in runs:
        for connection in serving.connections:
            connection.close()
        serving.sink.close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)


def get(url: str, path: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> Answer:
    """A response, or its first bytes if it is endless."""
    connection = connect(url)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    endless = response.chunked
    answer = Answer(response.status, response.headers, response.read(1) if endless else response.read())
    connection.close()
    return answer


def later(ask: Callable[[], Any]) -> Callable[[], Any]:
    """Send a request in a thread; the returned function waits for the response."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()

    def answer() -> Any:
        thread.join(20)
        return answers[0]

    return answer


def read_part(response: http.client.HTTPResponse) -> tuple[dict[str, str], UInt8Array]:
    """The next part of a multipart body, including the boundary after it: its headers and its image."""
    headers = {}
    while line := response.readline().strip().decode():
        name, _, value = line.partition(": ")
        headers[name] = value
    jpeg = response.read(int(headers["Content-Length"]))
    assert response.read(len(b"\r\n--frame\r\n")) == b"\r\n--frame\r\n"
    return headers, decoded(jpeg)


def decoded(jpeg: bytes) -> UInt8Array:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def read_messages(response: http.client.HTTPResponse, count: int) -> list[tuple[str, Any]]:
    """The next server-sent events: (event, JSON)."""
    messages: list[tuple[str, Any]] = []
    name = "message"
    while len(messages) < count:
        line = response.readline().strip().decode()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            messages.append((name, json.loads(line.removeprefix("data: "))))
            name = "message"
    return messages


@pytest.mark.parametrize(
    "address", ["", "8080", "127.0.0.1", "127.0.0.1:", ":8080", "127.0.0.1:web", "127.0.0.1:65536", "::1:80", "a:-1"]
)
def test_a_bad_address_is_one_line_that_shows_a_good_one(address: str) -> None:
    with pytest.raises(OutputError, match=r"expected HOST:PORT, such as 127\.0\.0\.1:8080") as caught:
        ServeSink(address, MODEL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.7:0", "example.com:0", "127.0.0.1.example:0"])
def test_what_others_can_reach_needs_a_token(address: str) -> None:
    with pytest.raises(OutputError, match="others can reach this address; give a token by MMPNET_TOKEN"):
        ServeSink(address, MODEL)


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_none(token: str) -> None:
    with pytest.raises(OutputError, match="the token is empty"):
        ServeSink("127.0.0.1:0", MODEL, token=token)


@pytest.mark.parametrize("token", [None, "SECRET"])
def test_pages_of_named_origins_only_may_show_it_in_a_frame(start: Callable[..., Serving], token: str | None) -> None:
    for embed_in, expected in (
        ((), "frame-ancestors 'none';"),
        (
            ("https://home.example:8123", "http://[::1]"),
            "frame-ancestors https://home.example:8123 http://[::1];",
        ),
    ):
        serving = start("front", token=token, embed_in=embed_in)
        # With a token, this is its form; without one, it is the page.
        answer = get(serving.sink.url, "/", {"Accept": "text/html"})
        assert answer.status == (200 if token is None else 401)
        assert expected in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "origin",
    ["", "*", "home.example", "https://home.example/path", "https://a; script-src *", "https://a b", "file://a"],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(OutputError, match=r"--embed-in .* is no origin; expected http\[s\]://HOST"):
        ServeSink("127.0.0.1:0", MODEL, embed_in=(origin,))


def test_a_busy_port_is_an_error_before_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}: another program uses this port"):
            ServeSink(f"127.0.0.1:{port}", MODEL)


def test_an_address_of_another_machine_is_an_error_before_the_run() -> None:
    with pytest.raises(OutputError, match="this machine lacks this address"):
        ServeSink("192.0.2.7:0", MODEL, token=TOKEN)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_reported_with_the_extra_that_brings_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name == package or name.startswith(f"{package}.") or name.startswith("mmpnet.runtime.web."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    from mmpnet.runtime.web.sink import ServeSink as Lazy

    with pytest.raises(MissingExtraError, match=rf"needs {package}.*pip install 'mmpnet\[serve\]'"):
        Lazy("127.0.0.1:0", MODEL)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_port_0_is_a_free_one_that_the_url_tells(start: Callable[..., Serving], host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    url = start(address=f"{host}:0").sink.url
    assert url.startswith(f"http://{host}:")
    assert not url.endswith(":0/")
    assert get(url, "/status").status == 200


@pytest.mark.parametrize("path", PATHS)
def test_with_a_token_nothing_is_answered_without_it(start: Callable[..., Serving], path: str) -> None:
    url = start(address="0.0.0.0:0", token=TOKEN).sink.url
    refused: list[tuple[str, dict[str, str]]] = [
        (path, {}),
        (f"{path}?token=", {}),
        (f"{path}?token=open", {}),
        (path, {"Authorization": "Bearer"}),
        (path, {"Authorization": "Bearer open"}),
        (path, {"Authorization": "Basic open s\xe9same"}),
    ]
    for asked, headers in refused:
        answer = get(url, asked, headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert b"Bearer TOKEN" in answer.body


def test_the_token_opens_by_header_and_by_query_under_any_host_name(start: Callable[..., Serving]) -> None:
    url = start(address="0.0.0.0:0", token=TOKEN).sink.url
    bearer = {"Authorization": "Bearer " + TOKEN.encode().decode("latin-1"), "Host": "box.example"}
    assert get(url, "/status", bearer).status == 200
    assert get(url, "/status?token=open%20s%C3%A9same").status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7:8080", "", "[2001:db8::1]"])
def test_without_a_token_a_foreign_host_name_is_refused(start: Callable[..., Serving], host: str) -> None:
    assert get(start().sink.url, "/status", {"Host": host}).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"])
def test_without_a_token_this_machine_is_answered(start: Callable[..., Serving], host: str) -> None:
    answer = get(start().sink.url, "/status", {"Host": host})
    assert answer.status == 200
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_page_is_one_document_that_may_load_nothing_from_elsewhere(start: Callable[..., Serving]) -> None:
    answer = get(start().sink.url, "/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; connect-src 'self';")
    assert b"<link rel=stylesheet" not in answer.body
    assert b"<script src" not in answer.body
    assert answer.body.count(b"http://") + answer.body.count(b"https://") == 1, "the name space of SVG alone"
    assert b"innerHTML" not in answer.body


def test_images_are_wanted_only_while_a_client_watches(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_images, "LINGER_S", 0.2)
    serving = start()
    serving.result(gray=10)
    assert not serving.sink.wants_annotated
    answer = later(lambda: get(serving.sink.url, "/snapshot.jpg"))
    wait_for(lambda: serving.sink.wants_annotated)
    serving.result(gray=200)
    snapshot = answer()
    assert snapshot.status == 200
    assert snapshot.headers["Content-Type"] == "image/jpeg"
    assert 50 <= int(snapshot.headers["X-Frame-Age-Ms"]) < 20_000
    assert abs(decoded(snapshot.body).mean() - 200) < 2, "as it was before the canvas was painted over"
    assert decoded(snapshot.body).shape == (*SIZE_HW, 3)
    wait_for(lambda: not serving.sink.wants_annotated)


def test_a_snapshot_is_of_the_latest_result_or_there_is_none(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SNAPSHOT_WAIT_S", 0.3)
    monkeypatch.setattr(live_images, "LINGER_S", 0.2)
    serving = start()
    answer = later(lambda: get(serving.sink.url, "/snapshot.jpg"))
    wait_for(lambda: serving.sink.wants_annotated)
    serving.result(gray=200)
    assert answer().status == 200
    wait_for(lambda: not serving.sink.wants_annotated)
    serving.result(gray=10)
    serving.sources[0].state = "stale"
    late = get(serving.sink.url, "/snapshot.jpg")
    assert late.status == 503
    assert late.body.startswith(b"no image for 0.3 s (stale")


def test_a_snapshot_can_wait_for_another_one(start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    serving = start()
    answer = later(lambda: get(serving.sink.url, "/snapshot.jpg"))
    serving.results_until(lambda: serving.sink.wants_annotated)
    serving.result(gray=100)
    answer()
    number = get(serving.sink.url, "/snapshot.jpg").headers["X-Image-Number"]
    answer = later(lambda: get(serving.sink.url, f"/snapshot.jpg?seen={number}"))
    time.sleep(0.1)
    serving.result(gray=150)
    other = answer()
    assert abs(decoded(other.body).mean() - 150) < 2
    monkeypatch.setattr(app, "SNAPSHOT_WAIT_S", 0.1)
    assert get(serving.sink.url, f"/snapshot.jpg?seen={other.headers['X-Image-Number']}").status == 503


@pytest.mark.parametrize("path", ["/snapshot.jpg", "/stream.mjpg"])
@pytest.mark.parametrize("source", ["2", "-1", "x", "\u00b2", "9" * 5000])
def test_a_source_that_is_not_there_is_named(start: Callable[..., Serving], path: str, source: str) -> None:
    answer = get(start("front", "yard").sink.url, f"{path}?source={source.replace(chr(0xB2), '%C2%B2')}")
    assert answer.status == 404
    assert b"expected a number from 0 to 1" in answer.body


def test_before_the_run_there_is_a_page_but_no_image() -> None:
    sink = ServeSink("127.0.0.1:0", MODEL)
    try:
        assert get(sink.url, "/").status == 200
        assert get(sink.url, "/snapshot.jpg").status == 503
        assert get(sink.url, "/healthz").json["problems"] == ["the run has not started"]
        assert get(sink.url, "/metrics").status == 200
    finally:
        sink.close()


def test_the_stream_gives_each_sources_newest_images(start: Callable[..., Serving]) -> None:
    serving = start("front", "yard")
    streams = [serving.stream(f"/stream.mjpg?source={number}") for number in range(2)]
    for response in streams:
        assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        assert response.readline() == b"--frame\r\n"
    for gray in (40, 80, 120):
        # A part ends with its boundary immediately, as browsers show it only when the boundary arrives.
        for number, response in enumerate(streams):
            wait_for(lambda: serving.sink.wants_annotated)
            serving.result(number, gray=gray + 100 * number)
            headers, image = read_part(response)
            assert headers["Content-Type"] == "image/jpeg"
            assert abs(image.mean() - gray - 100 * number) < 2


@pytest.mark.parametrize("state", ["stale", "reconnecting", "closed"])
def test_the_last_image_of_a_source_that_is_gone_says_so(start: Callable[..., Serving], state: State) -> None:
    serving = start("front", "yard")
    response = serving.stream("/stream.mjpg?source=1")
    response.readline()
    wait_for(lambda: serving.sink.wants_annotated)
    serving.sink.event(event("yard", state))  # there is no image yet
    serving.result(1, gray=90, size_hw=(240, 320))
    _, before = read_part(response)
    serving.sink.event(event("front", state))
    serving.sink.event(event("yard", "live"))
    serving.sink.event(event("yard", state))
    _, after = read_part(response)
    red = (after[..., 2] > 180) & (after[..., 0] < 110)
    assert red[0].mean() > 0.9, "a red frame"
    assert 0.05 < red.mean() < 0.5
    assert abs(before.mean() - 90) < 2
    serving.result(1, gray=120, size_hw=(240, 320))
    assert abs(read_part(response)[1].mean() - 120) < 2


def test_a_frame_is_encoded_once_however_many_look(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    encode = live_images._encode

    def counted(frame_bgr: UInt8Array) -> bytes:
        threads.append(threading.current_thread().name)
        return encode(frame_bgr)

    monkeypatch.setattr(live_images, "_encode", counted)
    serving = start()
    streams = [serving.stream("/stream.mjpg") for _ in range(4)]
    for response in streams:
        response.readline()
    wait_for(lambda: serving.sink.wants_annotated)
    for _ in range(3):
        serving.result()
        assert len({read_part(response)[0]["X-Image-Number"] for response in streams}) == 1
    assert len(threads) == 3
    assert all(name.startswith("jpeg") for name in threads)


def test_a_client_that_never_reads_costs_neither_time_nor_memory(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_images, "LINGER_S", 0.5)
    serving = start()
    monkeypatch.setattr(news, "LINGER_S", 0.5)
    for path in ("/stream.mjpg", "/stream.mjpg", "/detections"):
        serving.stream(path)
    wait_for(lambda: serving.sink.wants_annotated)
    result = serving.result()
    noisy = make_noise(0, (720, 1280))  # some 1 MB as JPEG
    many = Detections(np.zeros((300, 4), np.float32), np.ones(300, np.float32), np.ones(300, np.int64))
    large = replace(result, detections=many)
    indices = itertools.count(1)

    def write() -> None:
        serving.sink.write(replace(large, index=next(indices)), noisy)

    before_mb = resident_memory_mb() or 0.0
    # Until all clients are blocked: none requests images or reads events any more.
    wait_for(lambda: not serving.sink.wants_annotated and not serving.sink._news.listening, meanwhile=write)
    for _ in range(1000):
        write()
    assert (resident_memory_mb() or 0.0) - before_mb < 60, "of 2.7 GB of frames and 40 MB of results"
    reading = serving.stream("/stream.mjpg")
    reading.readline()
    wait_for(lambda: serving.sink.wants_annotated)
    serving.index = next(indices)
    serving.result(gray=70)
    assert abs(read_part(reading)[1].mean() - 70) < 2, "others are served as before"


def test_results_and_events_are_sent_as_they_come(start: Callable[..., Serving]) -> None:
    serving = start()
    serving.sink.event(event("front", "live"))
    response = serving.stream("/detections")
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    (state,) = read_messages(response, 1)
    assert state == ("state", {"event": "live", "stream": 0, "source": "front", "at": "2026-01-02T03:04:05.678Z"})
    first, second = serving.result(), serving.result(counts={"door": {"in_count": 1, "out_count": 0}})
    serving.sink.event(event("front", "reconnecting", "no frame for 5.0 s"))
    messages = read_messages(response, 3)
    assert messages[:2] == [("message", result_as_dict(result, NAMES)) for result in (first, second)]
    assert messages[2][0] == "state"
    assert messages[2][1]["reason"] == "no frame for 5.0 s"


def test_a_slow_listener_misses_results_but_no_events() -> None:
    async def listen() -> bytes:
        told = news.EventStream()
        told.notifier.attach()
        following = told.stream()
        await anext(following)
        assert await anext(following) == b""
        told.event(event("front", "stale"))
        for number in range(1000):
            told.result({"frame": number})
        return await anext(following)

    messages = asyncio.run(listen()).decode().split("\n\n")
    assert len(messages) == 1 + news.KEPT_RESULTS + 1
    assert messages[0].startswith("event: state\n")
    assert json.loads(messages[-2].removeprefix("data: ")) == {"frame": 999}


def test_silence_is_broken_by_comments(start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "HEARTBEAT_S", 0.05)
    response = start().stream("/detections")
    lines = [response.readline() for _ in range(4)]
    assert lines == [b"retry: 2000\n", b"\n", b": heartbeat\n", b"\n"]


def test_notifications_before_a_check_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ring_often() -> list[object]:
        notifier, calls = Notifier(), list[object]()
        notifier.attach()
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon_threadsafe

        def counted(*call: Any) -> asyncio.Handle:
            calls.append(call)
            return call_soon(*call)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        for _ in range(100):
            notifier.notify()
        await notifier.wait(5)
        notifier.notify()
        await notifier.wait(5)
        return calls

    assert len(asyncio.run(ring_often())) == 2


def health(serving: Serving) -> tuple[int, list[str]]:
    answer = get(serving.sink.url, "/healthz")
    assert answer.json["healthy"] == (answer.status == 200) == (not answer.json["problems"])
    return answer.status, answer.json["problems"]


def test_the_health_check_follows_the_sources(start: Callable[..., Serving]) -> None:
    serving = start("front", "yard")
    assert health(serving) == (503, ["front: no result yet", "yard: no result yet"])
    serving.result(0)
    serving.result(1)
    assert health(serving) == (200, [])
    for state in ("connecting", "stale", "reconnecting", "closed"):
        serving.sources[1].state = state
        serving.sink.event(event("yard", state, "because"))
        assert health(serving) == (503, [f"yard: {state}: because"])
    serving.sources[1].state = "live"
    serving.sink.event(event("yard", "live"))
    assert health(serving) == (200, [])


def test_a_run_without_new_results_is_not_healthy(start: Callable[..., Serving]) -> None:
    serving = start(stale_after_s=1.0)
    serving.result()
    assert health(serving) == (200, [])
    wait_for(lambda: health(serving) == (503, ["front: no result for 1 s"]))
    serving.result()
    assert health(serving) == (200, [])


@pytest.mark.parametrize(("asked", "status"), [("auto", 200), ("cpu", 200), ("cuda", 503)])
def test_another_provider_than_requested_is_not_healthy(start: Callable[..., Serving], asked: str, status: int) -> None:
    serving = start(model=replace(MODEL, provider_asked=asked))
    serving.result()
    assert health(serving) == (status, [] if status == 200 else ["runs on cpu, not on the requested cuda"])


def test_a_file_is_playing_until_it_is_closed(start: Callable[..., Serving]) -> None:
    serving = start("walk.mp4", live=False)
    serving.sources[0].state = "connecting"
    assert health(serving) == (503, ["walk.mp4: connecting"])
    serving.result()
    assert health(serving) == (200, [])
    assert get(serving.sink.url, "/status").json["sources"][0]["state"] == "playing"
    serving.sources[0].state = "closed"
    assert health(serving) == (200, []), "it was read to its end"
    serving.sink.event(Event("walk.mp4", "closed", datetime.now(UTC), "walk.mp4: cut short"))
    assert health(serving) == (503, ["walk.mp4: closed: cut short"])


def metrics(serving: Serving) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their labels' names) -> value."""
    answer = get(serving.sink.url, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_can_be_read_by_prometheus(start: Callable[..., Serving]) -> None:
    serving = start("front", "yard")
    tallies = {"door": {"in_count": 3, "out_count": 2}, "till": {"count": 1, "in_count": 5, "out_count": 4}}
    serving.result(0)
    serving.result(0, counts=tallies, age_ms=240.0)
    serving.sources[0].captured, serving.sources[0].replaced, serving.sources[0].late = 9, 4, 3
    serving.sources[1].state = "stale"
    read = metrics(serving)
    expected = {
        ("mmpnet_frames_captured_total", "front"): 9,
        ("mmpnet_frames_processed_total", "front"): 2,
        ("mmpnet_frames_dropped_total", "front"): 7,
        ("mmpnet_frames_late_total", "front"): 3,
        ("mmpnet_detections_total", "front"): 6,
        ("mmpnet_people", "front"): 2,
        ("mmpnet_source_up", "front"): 1,
        ("mmpnet_source_up", "yard"): 0,
        ("mmpnet_healthy",): 0,
        ("mmpnet_line_in_total", "front", "door"): 3,
        ("mmpnet_line_out_total", "front", "door"): 2,
        ("mmpnet_zone_people", "front", "till"): 1,
        ("mmpnet_zone_in_total", "front", "till"): 5,
        ("mmpnet_zone_out_total", "front", "till"): 4,
        ("mmpnet_frame_age_seconds_count", "front"): 2,
        ("mmpnet_frame_age_seconds_bucket", "front", "0.2"): 1,
        ("mmpnet_frame_age_seconds_bucket", "front", "0.3"): 2,
        ("mmpnet_inference_seconds_count", "front"): 2,
        ("mmpnet_inference_seconds_sum", "front"): 0.005,
    }
    assert {key: read.get(key) for key in expected} == pytest.approx(expected)
    for name in ("mmpnet_camera_fps", "mmpnet_process_fps", "mmpnet_skipped_fps"):
        assert read[name, "front"] >= 0
    assert read["mmpnet_process_resident_memory_bytes",] > 1e6
    assert read["mmpnet_cpu_percent",] >= 0
    assert [key[1:] for key in read if key[0] == "mmpnet_build_info"] == [("person-320", "cpu", "0.1.0")]


def test_names_of_sources_cannot_break_the_metrics(start: Callable[..., Serving]) -> None:
    names = ('a"} 1\nmmpnet_people 99', "caf\udce9", "twice", "twice")
    serving = start(*names)
    for number in range(4):
        serving.result(number)
    read = metrics(serving)
    assert [key[1] for key in read if key[0] == "mmpnet_people"] == [names[0], "caf?", "twice", "twice (2)"]
    assert get(serving.sink.url, "/status").json["sources"][0]["name"] == names[0]


@pytest.mark.parametrize(
    ("names", "expected"), [([], []), (["a", "b"], ["a", "b"]), (["a", "a", "a"], ["a", "a (2)", "a (3)"])]
)
def test_sources_of_one_name_are_distinguished(names: Sequence[str], expected: Sequence[str]) -> None:
    assert distinct_names(names) == expected


def test_rates_are_of_the_last_ten_seconds_and_latencies_of_the_slowest_frame() -> None:
    counts = SourceCounts("front", live=True, state="live")
    watch = SourceStats("front", counts, stale_after_s=5, now_s=0.0)
    result = make_result(np.zeros((4, 4, 3), np.uint8))
    for second in range(HISTORY_S + 30):
        fps = 30 if second < HISTORY_S else 15
        counts.captured += fps
        counts.processed += fps - 5
        counts.replaced += 5
        for age_ms in (30.0, 40.0 + second, 20.0):
            watch.record(replace(result, age_ms=age_ms), people=1, now_s=second + 0.5)
        watch.tick(second + 1.0)
    watch.tick(HISTORY_S + 31.0)
    status = watch.status(HISTORY_S + 31.0)
    # Of these ten seconds, one was without frames.
    assert (status.camera_fps, status.process_fps, status.skipped_fps) == pytest.approx((13.5, 9.0, 4.5))
    assert len(status.age_ms) == len(status.infer_ms) == HISTORY_S
    assert status.age_ms[-3:] == (40 + HISTORY_S + 28, 40 + HISTORY_S + 29, None)
    assert status.infer_ms[-2:] == (2.5, None)


@pytest.mark.parametrize("path", PATHS)
def test_a_question_for_the_headers_alone_has_an_end(start: Callable[..., Serving], path: str) -> None:
    serving = start()
    answer = later(lambda: get(serving.sink.url, path, method="HEAD"))
    serving.results_until(lambda: serving.sink.wants_annotated or path != "/snapshot.jpg")
    serving.result()
    assert answer().body == b""


def test_other_methods_are_refused(start: Callable[..., Serving]) -> None:
    url = start().sink.url
    assert {get(url, path, method="POST").status for path in PATHS[:-1]} == {405}


def test_a_live_run_is_served_while_it_lasts(detector: Detector) -> None:
    shots = [make_noise(seed, (96, 128)) for seed in range(5)]
    cameras = [
        LiveSource(name, lambda: FakeCapture(lambda number: shots[number % 5], period_s=0.02))
        for name in ("front", "yard")
    ]
    sink, stop = ServeSink("127.0.0.1:0", MODEL), threading.Event()
    running = later(lambda: run(cameras, detector, [sink], stop=stop))
    try:
        wait_for(lambda: get(sink.url, "/healthz").status == 200)
        snapshot = get(sink.url, "/snapshot.jpg?source=1")
        assert decoded(snapshot.body).shape == (96, 128, 3)
        status = wait_for(lambda: (now := get(sink.url, "/status").json)["sources"][1]["process_fps"] and now)
        assert [source["state"] for source in status["sources"]] == ["live", "live"]
        assert status["sources"][1]["captured"] >= status["sources"][1]["processed"] > 0
    finally:
        stop.set()
        running()
    with pytest.raises(ConnectionRefusedError):
        get(sink.url, "/healthz")


def test_close_ends_every_connection_and_frees_the_port(
    start: Callable[..., Serving], capfd: pytest.CaptureFixture[str]
) -> None:
    serving = start("front", "yard")
    waiting = [serving.stream(path) for path in ("/stream.mjpg", "/detections")]
    serving.stream("/stream.mjpg")  # never reads
    snapshot = later(lambda: get(serving.sink.url, "/snapshot.jpg?source=1"))
    noisy = make_noise(0, (720, 1280))
    wait_for(lambda: serving.sink.wants_annotated)
    result = serving.result()
    for _ in range(20):
        serving.sink.write(replace(result, index=serving.index), noisy)
        serving.index += 1
        time.sleep(0.02)
    serving.sink.close()
    for response in waiting:
        # The response ends, or is cut if the client does not read fast enough; it never waits forever.
        with suppress(http.client.IncompleteRead, ConnectionError):
            response.read()
    assert snapshot().status == 503
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("serve", "jpeg"))]
    assert capfd.readouterr().err == ""
    parts = urlsplit(serving.sink.url)
    again = start(address=parts.netloc)
    assert get(again.sink.url, "/status").status == 200
    serving.sink.close()  # twice does no harm
    serving.result()  # nor does a late result
