"""The served page in a real browser: moving pictures, numbers, and old pictures that do not look like the present."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import ServeSink
from support.results import make_result

MakeResult = Callable[..., Result]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_BROWSER = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""The DevTools protocol on a pipe: the browser reads commands from file descriptor 3 and answers on 4."""
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><b>yard</b>"
COLOUR = """(() => {
  const canvas = document.querySelectorAll("canvas")[0];
  return Array.from(canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3));
})()"""


class Browser:
    """A headless Chromium with one page; `requests` and `complaints` are what it asked for and said in its console."""

    def __init__(self, program: str, profile: Path) -> None:
        reads, self._to_browser = os.pipe()
        self._from_browser, writes = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        command = [program, *flags, "--window-size=1280,900", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START_BROWSER, str(reads), str(writes), *command],
            pass_fds=(reads, writes),
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._count = 0
        self._unread = b""
        self._session: dict[str, str] = {}
        (page,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression gives on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element of that kind, as people read it."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def screenshot(self, path: Path) -> None:
        """What people see, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._session = {}
        self.call("Browser.close")
        os.close(self._to_browser)
        os.close(self._from_browser)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self) -> Any:
        while b"\0" not in self._unread:
            received = os.read(self._from_browser, 1 << 20)
            assert received, "the browser is gone"
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def _note(self, event: Any) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"]["text"])
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["source"] in ("security", "javascript"):
            self.complaints.append(parameters["entry"]["text"])


@dataclass
class Feed:
    """A run of moving frames, 20 a second from every source but the `silent` ones, in a thread of its own."""

    sink: ServeSink
    sources: list[SourceCounts]
    make_result: MakeResult
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
        result = self.make_result(frame_bgr, index=index, kind="camera", detections=found)
        frame = replace(result.frame, stream=stream, captured_s=time.perf_counter() - 0.05)
        counted = {"front door": {"in_count": 12, "out_count": 7}}
        self.sink.write(replace(result, frame=frame, counts=counted), frame_bgr if self.sink.wants_annotated else None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine; Debian's package is called chromium")
    running = Browser(program, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def sink() -> Iterator[ServeSink]:
    model = ServedModel("person-320", ("background", "person"), "auto", "cpu")
    serving = ServeSink("127.0.0.1:0", model, token="open sesame", stale_after_s=2.0)
    yield serving
    serving.close()


def wait_for(met: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    """What `met` gives, once it is true."""
    until_s = time.perf_counter() + timeout_s
    while not (found := met()):
        assert time.perf_counter() < until_s, f"still {found!r}"
        time.sleep(0.05)
    return found


def open_page(browser: Browser, sink: ServeSink) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.call("Page.navigate", url=f"{sink.url}?token=open%20sesame")
    wait_for(lambda: browser.text(".source"))


def cameras(*names: str) -> list[SourceCounts]:
    return [SourceCounts(name, live=True, state="live") for name in names]


def test_the_page_shows_moving_pictures_and_numbers_and_asks_nobody_else(
    browser: Browser, sink: ServeSink, tmp_path: Path
) -> None:
    with Feed(sink, cameras("front", "yard"), make_result):
        open_page(browser, sink)
        colours = [browser.evaluate(COLOUR)]
        for _ in range(3):
            colours.append(wait_for(lambda: (colour := browser.evaluate(COLOUR)) not in colours and colour))
        assert all(abs(red - 200) < 12 for red, _, _ in colours[1:]), colours
        wait_for(lambda: browser.text(".people") == "2" and float(browser.text(".fps")) > 1)
        wait_for(lambda: browser.evaluate("document.querySelector('.age-line').getAttribute('d').includes('L')"))
        assert browser.evaluate("document.querySelectorAll('.source').length") == 2
        assert [browser.text(name) for name in ("h2", ".state", ".infer")] == ["front", "LIVE", "2.5 ms"]
        assert browser.text(".age").endswith(" ms")
        assert "person-320 on cpu" in browser.text("#facts")
        assert browser.text(".counts tbody tr") == "front door\t12\t7\t–"
        assert browser.evaluate("document.querySelector('.veil').hidden && document.getElementById('alarm').hidden")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        browser.screenshot(tmp_path / "page.png")
    picture = cv2.imread(str(tmp_path / "page.png"))
    assert picture is not None
    red = (np.abs(picture.astype(int)[..., 1:] - (60, 200)) < 12).all(axis=2)
    assert red.mean() > 0.1, "the images are seen"
    assert browser.requests
    assert all(url.startswith((sink.url, "data:")) for url in browser.requests), browser.requests
    assert not any("stream.mjpg" in url or "<" in url for url in browser.requests)
    assert browser.complaints == []


def test_an_old_picture_is_covered_and_said_to_be_old(browser: Browser, sink: ServeSink) -> None:
    sources = cameras("front", "yard")
    with Feed(sink, sources, make_result) as feed:
        open_page(browser, sink)
        wait_for(
            lambda: browser.evaluate("[...document.querySelectorAll('.state')].map((s) => s.innerText)") == ["LIVE"] * 2
        )
        feed.silent.add(0)
        sources[0].state = "reconnecting"
        wait_for(lambda: browser.text(".veil strong") == "RECONNECTING")
        assert browser.text(".state") == "RECONNECTING"
        assert "this image is" in browser.text(".veil span")
        assert "grayscale" in browser.evaluate("getComputedStyle(document.querySelector('canvas')).filter")
        assert "front: reconnecting" in browser.text("#alarm")
        assert browser.evaluate("document.querySelectorAll('.veil')[1].hidden"), "the other one is live"
        sources[0].state = "live"
        wait_for(lambda: browser.text(".veil strong") == "STOPPED")
        feed.silent.clear()
        wait_for(lambda: browser.evaluate("document.querySelector('.veil').hidden"))
        assert browser.evaluate("document.getElementById('alarm').hidden")


def test_pictures_of_a_server_that_is_gone_are_covered(browser: Browser, sink: ServeSink) -> None:
    with Feed(sink, cameras("front"), make_result):
        open_page(browser, sink)
        wait_for(lambda: browser.text(".state") == "LIVE")
    sink.close()
    wait_for(lambda: browser.text(".veil strong") == "NO CONNECTION")
    assert "No connection" in browser.text("#alarm")


def test_html_in_a_source_name_is_text(browser: Browser, sink: ServeSink) -> None:
    with Feed(sink, cameras(HOSTILE), make_result):
        open_page(browser, sink)
        wait_for(lambda: browser.text("h2") == HOSTILE)
        wait_for(lambda: browser.text(".state") == "LIVE")
    assert browser.evaluate("document.querySelectorAll('img, h2 b').length") == 0
    assert browser.evaluate("document.title") != "taken"
    assert browser.complaints == []
