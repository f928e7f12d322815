"""The page behind a real nginx, with the configuration of the documentation, with and without TLS."""

import base64
import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.recordings.names import recording_path
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import Past, ServeSink
from support.ports import free_port
from support.results import make_result

pytestmark = pytest.mark.slow
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
RECIPE = Path(__file__).parents[3] / "docs" / "recipes" / "behind-nginx.md"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"me:pass").decode()}
NOBODY: dict[str, str] = {}
MAIN = (
    "daemon off;\nuser root;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{server}}}\n"
)
CLIP = b"clip" * 1000


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[ServeSink]:
    """A page with one frame, one event and one clip."""
    at = datetime.now(timezone.utc) - timedelta(seconds=90)
    clip = recording_path(tmp_path / "rec", "front", at, suffix=".mp4")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(CLIP)
    store = EventStore(tmp_path / "events.sqlite")
    event = CameraEvent(id="a", event="appeared", camera="front", stream=0, at=at, track=1, class_name="person")
    store.add([(event, None)])
    store.close()
    model = ServedModel("person-320", ("background", "person"), "auto", "cpu")
    past = Past(tmp_path / "events.sqlite", tmp_path / "rec")
    serving = ServeSink("127.0.0.1:0", model, token="SECRET", stale_after_s=60.0, past=past)
    serving.started(Summary(sources=[SourceCounts("front", live=True, state="live")]))
    yield serving
    serving.close()


@dataclass(frozen=True)
class Site:
    """Where nginx listens."""

    port: int
    context: ssl.SSLContext | None

    def ask(self, path: str, headers: Mapping[str, str] = LOGIN, *, posted: object = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        with self.opened(path, headers, posted=posted) as answer:
            return answer.status, answer.read()

    @contextmanager
    def opened(
        self, path: str, headers: Mapping[str, str] = LOGIN, *, posted: object = None
    ) -> Iterator[http.client.HTTPResponse]:
        if self.context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)
        try:
            body = None if posted is None else json.dumps(posted).encode()
            connection.request("GET" if body is None else "POST", path, body=body, headers=dict(headers))
            yield connection.getresponse()
        finally:
            connection.close()


def configuration(folder: Path, *, port: int, behind: str, tls: bool, token_form: bool) -> str:
    """The server of the recipe, with this machine's port and files."""
    (server,) = re.findall(r"```nginx\n(.*?)```", RECIPE.read_text(encoding="utf-8"), re.DOTALL)
    lines = server.splitlines()
    if not tls:
        lines = [line for line in lines if "ssl_" not in line]
    if token_form:
        lines = [line for line in lines if "auth_basic" not in line and "Authorization" not in line]
    text = "\n".join(lines) + "\n"
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port}{' ssl' if tls else ''};"),
        ("http://127.0.0.1:8000/", behind),
    ):
        assert old in text
        text = text.replace(old, new)
    return text.replace("/etc/nginx/", f"{folder}/")


@contextmanager
def nginx(folder: Path, sink: ServeSink, *, tls: bool, token_form: bool = False) -> Iterator[Site]:
    """nginx in front of a page; the test is skipped where it is not installed."""
    openssl = shutil.which("openssl")
    if NGINX is None or openssl is None:
        pytest.skip("no nginx or openssl on this machine; Debian's packages are called nginx and openssl")
    port = free_port()
    (folder / "people.htpasswd").write_text("me:{PLAIN}pass\n")
    key = [f"{folder}/people.key", "-out", f"{folder}/people.pem", "-subj", "/CN=people", "-days", "2"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", *key], check=True, capture_output=True
    )
    server = configuration(folder, port=port, behind=sink.url, tls=tls, token_form=token_form)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, server=server))
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    context = None
    if tls:
        context = ssl.create_default_context(cafile=str(folder / "people.pem"))
        context.check_hostname = False
    site = Site(port, context)
    try:
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            with suppress(OSError):
                site.ask("/")
                break
            time.sleep(0.05)
        yield site
    finally:
        process.terminate()
        process.wait(60)


def show(sink: ServeSink, gray: int) -> None:
    """Give the page one frame."""
    frame_bgr = np.full((90, 160, 3), gray, np.uint8)
    result = make_result(frame_bgr, kind="camera")
    frame = replace(result.frame, captured_s=time.perf_counter())
    sink.write(replace(result, frame=frame), frame_bgr)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_everything_works_under_a_path_for_who_has_logged_in(tmp_path: Path, sink: ServeSink, tls: bool) -> None:
    with nginx(tmp_path, sink, tls=tls) as site:
        assert site.ask("/people/", NOBODY)[0] == 401
        assert site.ask("/people/?token=SECRET", NOBODY)[0] == 401, "the token alone does not pass nginx"
        status, page = site.ask("/people/")
        assert (status, b"<title>mmpnet</title>" in page) == (200, True)
        assert site.ask("/people")[0] == 301
        history = json.loads(site.ask("/people/history")[1])
        assert [one["id"] for one in history["events"]] == ["a"]
        clip = history["events"][0]["clip"]
        assert site.ask(f"/people/clips/{clip}") == (200, CLIP)
        assert site.ask(f"/people/clips/{clip}", {**LOGIN, "Range": "bytes=4-7"}) == (206, b"clip")
        shape = {"camera": "front", "kind": "line", "name": "door", "points": [[0, 50], [100, 50]]}
        posted = site.ask("/people/shape", {**LOGIN, "X-Mmpnet": "page"}, posted=shape)
        assert (posted[0], json.loads(posted[1])["saved"]) == (200, False)
        with site.opened("/people/stream.mjpg") as stream, site.opened("/people/detections") as news:
            for gray in (10, 20):
                show(sink, gray)
                read = b""
                while b"\xff\xd9" not in read:  # each image comes at once; one that waits in nginx ends the test
                    read += stream.read1()
            line = next(line for line in news if line.startswith(b"data:"))
            assert json.loads(line.removeprefix(b"data:"))["source"]
        assert site.ask("/people/snapshot.jpg")[1].startswith(b"\xff\xd8")


def test_without_a_login_of_nginx_the_page_asks_for_its_token(tmp_path: Path, sink: ServeSink) -> None:
    with nginx(tmp_path, sink, tls=True, token_form=True) as site:
        status, form = site.ask("/people/", {"Accept": "text/html"})
        assert (status, b'id="token"' in form) == (401, True)
        assert site.ask("/people/status", NOBODY)[0] == 401
        assert site.ask("/people/?token=SECRET", NOBODY)[0] == 200
        assert site.ask("/people/status?token=SECRET", NOBODY)[0] == 200
