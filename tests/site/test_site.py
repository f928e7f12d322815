"""The built documentation site in a browser: it asks no other host, and its search finds answers.

`make docs` builds the site, and runs these tests with its folder in MMPNET_SITE.
"""

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from hooks import on_page_content
from outside_requests import STARS, outside_requests
from support.browser import headless_browser

SETTLED_MS = 1000
"""The search answers each key; this long after the last one, the list is that of all words."""
ANSWERS = {
    "docker camera device": "start/container.html",
    "docker usb camera permission denied": "start/container.html",
    "raspberry pi increase fps": "start/raspberry-pi.html",
    "raspberry pi camera module": "recipes/pi-camera.html",
    "rtsp delay": "troubleshooting.html",
    "reduce false positives": "troubleshooting.html",
    "train own dataset low mAP": "troubleshooting.html",
    "loss nan": "troubleshooting.html",
    "int8 accuracy drop": "troubleshooting.html",
    "headless no display": "troubleshooting.html",
    "line counts twice": "troubleshooting.html",
    "home assistant sensor unavailable": "troubleshooting.html",
    "openvino": "own-model/export.html",
}
"""What users ask in forums of such tools, and the page that has the answer."""
VISITED = ("index.html", "start/container.html", "learn/experiments.html", "notebooks/exercise.html", "404.html")


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://host/a.js"></script>',
        '<link rel="stylesheet" href="//host/a.css">',
        '<link href="https://host" rel="preconnect">',
        '<img alt="" src="http://host/a.png">',
        "<style>@import 'https://host/a.css';</style>",
        '<p style="background: url(https://host/a.png)">',
        f'<a href="https://host/project" {STARS}>',
        '<pre class="mermaid">',
    ],
)
def test_a_page_that_asks_another_host_is_found(html: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html)
    [found] = outside_requests(tmp_path)
    assert found.startswith("page.html: ")


def test_links_to_click_on_and_own_files_ask_no_other_host(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<link rel="canonical" href="https://host/page.html"><a href="https://host">host</a><img src="a.png">'
    )
    (tmp_path / "own.css").write_text("@import 'own.css'; p { background: url(a.png) url('data:image/png;base64,') }")
    assert outside_requests(tmp_path) == []


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built site, served on this machine."""
    folder = os.environ.get("MMPNET_SITE")
    if folder is None:
        pytest.skip("make docs builds the site and runs this test")
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request that fails is seen in the browser."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh context, so that nothing comes from a cache."""
    with browser.new_context() as context:
        yield context.new_page()


def search(page: Page, words: str) -> list[str]:
    """The pages that the search of the site gives for some words, best first."""
    box = page.locator("input.md-search__input")
    box.click()
    box.press_sequentially(words)  # the search starts with a key, not with a value
    page.locator(".md-search-result__item").first.wait_for(state="attached")
    page.wait_for_timeout(SETTLED_MS)
    links = page.locator(".md-search-result__item > .md-search-result__link")
    found: list[str] = links.evaluate_all("links => links.map(link => link.pathname.slice(1))")
    return found


def test_visits_and_a_search_ask_no_other_host(site: str, page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name in VISITED:
        page.goto(f"{site}/{name}", wait_until="networkidle")
    page.goto(f"{site}/index.html", wait_until="networkidle")
    assert search(page, "camera")
    page.wait_for_load_state("networkidle")
    assert len(requests) > len(VISITED)
    assert [url for url in requests if not url.startswith((f"{site}/", "data:", "blob:"))] == []


@pytest.mark.parametrize("question", ANSWERS)
def test_the_search_shows_the_page_with_the_answer_among_the_first_two(question: str, site: str, page: Page) -> None:
    page.goto(f"{site}/index.html", wait_until="networkidle")
    assert ANSWERS[question] in search(page, question)[:2]


@pytest.mark.parametrize("name", VISITED)
def test_no_page_is_wider_than_a_phone(name: str, site: str, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site}/{name}", wait_until="load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_narrow_screen_breaks_no_option_in_text() -> None:
    whole = '<span style="white-space: nowrap">--data</span>'
    assert on_page_content("<p><code>mmp-val --data D</code>") == f"<p><code>mmp-val {whole} D</code>"
    block = "<pre><span></span><code>mmp-val --data D</code></pre>"
    assert on_page_content(block) == block
