"""The page in a real browser: moving images, numbers, and old images that are marked as outdated."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from mmpnet.contract.detections import Detections
from mmpnet.media.h264 import ClipFile, FrameEncoder
from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.recordings.names import recording_path
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.drawn_shape import DrawnShape, KnownShape, NamedShape
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import Past, ServeSink
from support.browser import headless_browser
from support.results import make_result

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><b>yard</b>"
CENTER_COLOR = """() => {
  const canvas = document.querySelectorAll("canvas")[0];
  return Array.from(canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3));
}"""


@dataclass
class Feed:
    """A run of moving frames, 20 per second from every source except the `silent` ones, in its own thread."""

    sink: ServeSink
    sources: list[SourceCounts]
    people: int = 2
    silent: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Feed":
        self.sink.started(Summary(sources=self.sources))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self._thread.join()

    def _run(self) -> None:
        index = 0
        while not self.stop.wait(0.05):
            for stream, counts in enumerate(self.sources):
                if stream not in self.silent:
                    self._one(index, stream, counts)
                    index += 1

    def _one(self, index: int, stream: int, counts: SourceCounts) -> None:
        counts.captured += 1
        counts.processed += 1
        frame_bgr = np.full((90, 160, 3), (index * 7 % 256, 60, 200), np.uint8)
        boxes = np.tile(np.array([[10, 10, 40, 80]], np.float32), (self.people, 1))
        found = Detections(boxes, np.full(self.people, 0.9, np.float32), np.ones(self.people, np.int64))
        tallies = {"front door": {"in_count": 12, "out_count": 7}}
        result = make_result(frame_bgr, index=index, kind="camera", detections=found, counts=tallies)
        frame = replace(result.frame, stream=stream, captured_s=time.perf_counter() - 0.05)
        self.sink.write(replace(result, frame=frame), frame_bgr if self.sink.wants_annotated else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as running:
        yield running


@dataclass
class Visit:
    """The open page, the addresses that it requested, and the errors in its console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        # Network messages, such as a lost connection, are not errors of the page.
        if message.type == "error" and "net::" not in message.text:
            self.complaints.append(message.text)

    def expect_text(self, selector: str, text: str) -> None:
        """Wait until the first such element shows this text."""
        expect(self.page.locator(selector).first).to_have_text(text, use_inner_text=True)


@pytest.fixture
def sink() -> Iterator[ServeSink]:
    model = ServedModel("person-320", ("background", "person"), "auto", "cpu")
    serving = ServeSink("127.0.0.1:0", model, token="open sesame", stale_after_s=2.0)
    yield serving
    serving.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A page that is not open yet."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield Visit(page)
    page.close()


def open_page(visit: Visit, sink: ServeSink) -> Page:
    visit.page.goto(f"{sink.url}?token=open%20sesame")
    visit.page.locator(".source").first.wait_for()
    return visit.page


def cameras(*names: str) -> list[SourceCounts]:
    return [SourceCounts(name, live=True, state="live") for name in names]


def test_the_page_shows_moving_images_and_numbers_and_requests_nothing_elsewhere(
    visit: Visit, sink: ServeSink, tmp_path: Path
) -> None:
    with Feed(sink, cameras("front", "yard")):
        page = open_page(visit, sink)
        colors = [page.evaluate(CENTER_COLOR)]
        for _ in range(3):
            is_new = f"(seen) => {{ const found = ({CENTER_COLOR})(); return !seen.includes(`${{found}}`) && found; }}"
            seen = [",".join(map(str, color)) for color in colors]
            colors.append(page.wait_for_function(is_new, arg=seen).json_value())
        assert all(abs(red - 200) < 12 for red, _, _ in colors[1:]), colors
        visit.expect_text(".people", "2")
        until(page, "() => Number(document.querySelector('.fps').innerText) > 1")
        until(page, "() => document.querySelector('.age-line').getAttribute('d').includes('L')")
        expect(page.locator(".source")).to_have_count(2)
        assert [page.locator(name).first.inner_text() for name in ("h2", ".state", ".infer")] == [
            "front",
            "LIVE",
            "2.5 ms",
        ]
        assert page.locator(".age").first.inner_text().endswith(" ms")
        assert "person-320 on cpu" in page.locator("#facts").inner_text()
        assert page.locator(".counts tbody tr").first.inner_text() == "front door\t12\t7\t–"
        expect(page.locator(".veil").first).to_be_hidden()
        expect(page.locator("#alarm")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        page.screenshot(path=tmp_path / "page.png")
    screenshot = cv2.imread(str(tmp_path / "page.png"))
    assert screenshot is not None
    red = (np.abs(screenshot.astype(int)[..., 1:] - (60, 200)) < 12).all(axis=2)
    assert red.mean() > 0.1, "the images are seen"
    assert visit.requests
    assert all(url.startswith((sink.url, "data:")) for url in visit.requests), visit.requests
    assert not any("stream.mjpg" in url or "<" in url for url in visit.requests)
    assert visit.complaints == []


def test_an_old_image_is_covered_and_marked_as_old(visit: Visit, sink: ServeSink) -> None:
    sources = cameras("front", "yard")
    with Feed(sink, sources) as feed:
        page = open_page(visit, sink)
        expect(page.locator(".state")).to_have_text(["LIVE", "LIVE"], use_inner_text=True)
        feed.silent.add(0)
        sources[0].state = "reconnecting"
        visit.expect_text(".veil strong", "RECONNECTING")
        visit.expect_text(".state", "RECONNECTING")
        assert "this image is" in page.locator(".veil span").first.inner_text()
        assert "grayscale" in page.evaluate("getComputedStyle(document.querySelector('canvas')).filter")
        assert "front: reconnecting" in page.locator("#alarm").inner_text()
        expect(page.locator(".veil").nth(1)).to_be_hidden()  # the other one is live
        sources[0].state = "live"
        visit.expect_text(".veil strong", "STOPPED")
        feed.silent.clear()
        expect(page.locator(".veil").first).to_be_hidden()
        expect(page.locator("#alarm")).to_be_hidden()


def test_images_of_a_server_that_is_gone_are_covered(visit: Visit, sink: ServeSink) -> None:
    with Feed(sink, cameras("front")):
        page = open_page(visit, sink)
        visit.expect_text(".state", "LIVE")
    sink.close()
    visit.expect_text(".veil strong", "NO CONNECTION")
    assert "No connection" in page.locator("#alarm").inner_text()


def test_html_in_a_source_name_is_text(visit: Visit, sink: ServeSink) -> None:
    with Feed(sink, cameras(HOSTILE)):
        page = open_page(visit, sink)
        visit.expect_text("h2", HOSTILE)
        visit.expect_text(".state", "LIVE")
    expect(page.locator("img, h2 b")).to_have_count(0)
    assert page.title() != "taken"
    assert visit.complaints == []


# --- the past, drawing, and accessibility ---


class Settings:
    """Settings in memory that the page changes."""

    def __init__(self) -> None:
        self.known = [KnownShape("front", "line", "gate", (("0%", "20%"), ("160", "20%")))]
        self.saved: list[DrawnShape] = []

    def shapes(self) -> list[KnownShape]:
        return self.known

    def save(self, shape: DrawnShape) -> str:
        self.saved.append(shape)
        points = tuple((f"{x}%", f"{y}%") for x, y in shape.points)
        self.known = [one for one in self.known if one.name != shape.replaces]
        self.known.append(KnownShape(shape.camera, shape.kind, shape.name, points))
        return "Saved."

    def remove(self, shape: NamedShape) -> str:
        self.known = [one for one in self.known if one.name != shape.name]
        return "Removed."


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def whole_sink(tmp_path: Path, settings: Settings) -> Iterator[ServeSink]:
    """A page with two events of today, one with a snapshot and a clip."""
    pytest.importorskip("av", reason="recordings need PyAV: pip install 'mmpnet[record]'")
    at = datetime.now(timezone.utc) - timedelta(seconds=90)
    clip = recording_path(tmp_path / "rec", "front", at - timedelta(seconds=5), suffix=".mp4")
    clip.parent.mkdir(parents=True)
    encoder, writer = FrameEncoder((90, 160), fps=5), ClipFile(clip, frame_hw=(90, 160), fps=5)
    for index in range(60):
        writer.write(encoder.encode(np.full((90, 160, 3), index * 4, np.uint8), index / 5))
    writer.close()
    _, jpeg = cv2.imencode(".jpg", np.full((90, 160, 3), (40, 40, 220), np.uint8))
    told: dict[str, Any] = {"camera": "front", "stream": 0, "track": 7, "class_name": "person", "at": at}
    appeared = CameraEvent(id="a", event="appeared", snapshot=True, box=(0.1, 0.1, 0.3, 0.9), **told)
    crossed = CameraEvent(id="b", event="crossed", line="front door", direction="in", **told)
    store = EventStore(tmp_path / "events.db")
    store.add([(appeared, jpeg.tobytes()), (crossed, None)])
    store.close()
    past = Past(tmp_path / "events.db", tmp_path / "rec", settings)
    model = ServedModel("person-320", ("background", "person"), "auto", "cpu")
    serving = ServeSink("127.0.0.1:0", model, token="open sesame", stale_after_s=20.0, past=past)
    yield serving
    serving.close()


def until(page: Page, condition: str) -> None:
    """Wait until a condition in JavaScript holds; Playwright's own function needs a policy that allows eval."""
    ends_s = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < ends_s, condition
        time.sleep(0.05)


def serious(page: Page) -> list[str]:
    """What axe-core calls serious or critical in the page as it is now."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_the_past_is_on_the_page_and_images_are_enlarged_and_clips_played(visit: Visit, whole_sink: ServeSink) -> None:
    with Feed(whole_sink, cameras("front")):
        page = open_page(visit, whole_sink)
        visit.expect_text("#events li .said", "person 7 crossed front door: in")
        visit.expect_text(".in", "1")
        visit.expect_text(".out", "0")
        visit.expect_text(".inside", "1")
        visit.expect_text(".today", "1")
        expect(page.locator(".day rect")).to_have_count(1)
        page.locator(".thumb:visible").click()
        expect(page.locator("#viewer img")).to_be_visible()
        until(page, "document.querySelector('#viewer img').naturalWidth === 160")
        page.keyboard.press("Escape")
        page.locator(".play:visible").first.click()
        until(page, "document.querySelector('#viewer video').currentTime > 0")
        assert page.evaluate("document.querySelector('#viewer video').duration") == pytest.approx(12, abs=0.3)
        page.keyboard.press("Escape")
        page.locator(".enlarge").click()
        until(page, "document.querySelector('#viewer canvas').width === 160")
    assert visit.complaints == []


def test_the_canvas_stays_where_it_is_when_the_shapes_of_the_settings_arrive(
    visit: Visit, whole_sink: ServeSink
) -> None:
    with Feed(whole_sink, cameras("front")):
        page = open_page(visit, whole_sink)
        until(page, "document.querySelector('.enlarge canvas').width === 160")
        held: list[Route] = []
        page.route("**/shapes*", lambda route: held.append(route))
        page.locator(".draw").click()
        while not held:
            page.wait_for_timeout(50)
        canvas = page.locator("#drawing canvas")
        before = canvas.bounding_box()
        held[0].continue_()
        expect(page.locator("#drawing .known button", has_text="gate (line)")).to_be_visible()
        assert canvas.bounding_box() == before


def test_a_line_is_drawn_with_the_mouse_and_a_zone_with_fingers_and_both_are_saved(
    visit: Visit, whole_sink: ServeSink, settings: Settings
) -> None:
    with Feed(whole_sink, cameras("front")):
        page = open_page(visit, whole_sink)
        until(page, "document.querySelector('.enlarge canvas').width === 160")
        page.locator(".draw").click()
        expect(page.locator("#drawing .known button", has_text="gate (line)")).to_be_visible()
        box = page.locator("#drawing canvas").bounding_box()
        assert box is not None
        for x, y in ((0.1, 0.5), (0.9, 0.6)):
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.locator("#drawing [type=submit]").click()
        visit.expect_text("#drawing .said", "Saved.")
        page.locator("#drawing .known button", has_text="New").click()
        visit.expect_text("#drawing .said", "")
        page.locator("#drawing [value=zone]").check()
        page.locator("#drawing [name=name]").fill("till")
        for x, y in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.9)):
            place = {"clientX": box["x"] + x * box["width"], "clientY": box["y"] + y * box["height"]}
            for kind in ("pointerdown", "pointerup"):
                page.locator("#drawing canvas").dispatch_event(kind, {**place, "pointerType": "touch", "pointerId": 1})
        page.locator("#drawing [type=submit]").click()
        visit.expect_text("#drawing .said", "Saved.")
    assert [(shape.kind, shape.name, len(shape.points)) for shape in settings.saved] == [
        ("line", "door", 2),
        ("zone", "till", 3),
    ]
    np.testing.assert_allclose(settings.saved[0].points, [[10, 50], [90, 60]], atol=1)


def test_a_line_is_moved_renamed_and_removed(visit: Visit, whole_sink: ServeSink, settings: Settings) -> None:
    with Feed(whole_sink, cameras("front")):
        page = open_page(visit, whole_sink)
        until(page, "document.querySelector('.enlarge canvas').width === 160")
        page.locator(".draw").click()
        page.locator("#drawing .known button", has_text="gate (line)").click()
        expect(page.locator("#drawing [name=name]")).to_have_value("gate")
        box = page.locator("#drawing canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 2, box["y"] + 0.2 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"])
        page.mouse.up()
        page.locator("#drawing [name=name]").fill("big gate")
        page.locator("#drawing [type=submit]").click()
        visit.expect_text("#drawing .said", "Saved.")
        (saved,) = settings.saved
        assert (saved.name, saved.replaces, saved.kind) == ("big gate", "gate", "line")
        np.testing.assert_allclose(saved.points, [[30, 70], [100, 20]], atol=1)
        page.locator("#drawing .delete").click()
        visit.expect_text("#drawing .said", "Removed.")
        assert settings.known == []
        page.locator("#drawing [type=submit]").click()
        visit.expect_text("#drawing .said", "Saved.")
        assert [one.name for one in settings.known] == ["big gate"], "what was removed by mistake is saved again"
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious_in_any_state(
    browser: Browser, whole_sink: ServeSink, scheme: Any, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    try:
        page.goto(whole_sink.url)
        assert serious(page) == [], "the form that asks for the token"
        page.fill("#token", "open sesame")
        with Feed(whole_sink, cameras("front")) as feed:
            page.click("button")
            expect(page.locator("#events li")).to_have_count(2)
            expect(page.locator(".state")).to_have_text("live", use_inner_text=False)
            page.locator("summary").click()
            assert serious(page) == [], "all is well"
            page.locator(".draw").click()
            assert serious(page) == [], "drawing"
            page.keyboard.press("Escape")
            page.locator(".thumb:visible").click()
            assert serious(page) == [], "an enlarged image"
            page.keyboard.press("Escape")
            feed.sources[0].state = "reconnecting"
            expect(page.locator(".bad")).to_have_count(1)
            expect(page.locator(".people")).to_have_text("\u2013")
            expect(page.locator(".inside")).to_have_text("\u2013")
            assert serious(page) == [], "a camera is away"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    finally:
        context.close()


class _Proxy(BaseHTTPRequestHandler):
    """A reverse proxy that serves another server under /shop/cameras/."""

    prefix = "/shop/cameras"
    behind = ""

    def do_GET(self) -> None:
        if not self.path.startswith(f"{self.prefix}/"):
            self.send_error(404)
            return
        request = urllib.request.Request(self.behind.rstrip("/") + self.path.removeprefix(self.prefix))
        request.add_header("Accept", self.headers.get("Accept", ""))
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_it_works_behind_a_reverse_proxy_under_a_path(visit: Visit, whole_sink: ServeSink) -> None:
    handler = type("Proxy", (_Proxy,), {"behind": whole_sink.url})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    page = visit.page
    try:
        with Feed(whole_sink, cameras("front")):
            page.goto(f"http://127.0.0.1:{proxy.server_address[1]}{_Proxy.prefix}/")
            page.fill("#token", "open sesame")
            page.click("button")
            visit.expect_text("#events li .said", "person 7 crossed front door: in")
            visit.expect_text(".in", "1")
            until(page, "document.querySelector('.enlarge canvas').width === 160")
            page.locator(".thumb:visible").scroll_into_view_if_needed()
            until(page, "document.querySelector('.thumb:not([hidden]) img').naturalWidth === 160")
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert all(f"{_Proxy.prefix}/" in url for url in visit.requests if url.startswith("http")), visit.requests
