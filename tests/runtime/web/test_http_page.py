"""The page of the reference about HTTP names every address of the server and every metric."""

import re
from collections.abc import Iterable

from starlette.routing import Route

from make_reference import HTTP, http
from mmpnet.runtime.web.app import Feeds, make_app
from mmpnet.runtime.web.event_stream import EventStream
from mmpnet.runtime.web.metrics import Metrics
from mmpnet.runtime.web.mjpeg import MjpegFeed
from mmpnet.runtime.web.run_status import ServedModel, StatusRecorder

PAGE = HTTP.read_text(encoding="utf-8")


def monitor() -> StatusRecorder:
    return StatusRecorder(ServedModel("person-320", ("person",), "auto", "cpu"), stale_after_s=5)


def addresses(routes: Iterable[object]) -> set[str]:
    """`GET /status` and so on; HEAD goes with each GET."""
    return {
        f"{method} {route.path}"
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }


def test_the_table_of_addresses_has_those_of_the_server_and_no_others() -> None:
    recorder = monitor()
    routes = make_app(Feeds(recorder, MjpegFeed(), EventStream(), Metrics(recorder))).routes
    listed = re.findall(r"^\| `([A-Z]+ /\S*)` \|", PAGE, re.MULTILINE)
    assert len(addresses(routes)) == len(routes)
    assert sorted(listed) == sorted(addresses(routes))


def test_the_table_of_metrics_is_up_to_date() -> None:
    assert http(PAGE) == PAGE, "run make reference"


def test_every_metric_that_the_server_sends_is_in_the_table() -> None:
    sent = re.findall(r"^# TYPE (\S+) (\S+)$", Metrics(monitor()).exposition("")[0].decode(), re.MULTILINE)
    assert len(sent) > 20
    absent = [name for name, kind in sent if f"| `{name}` | {kind} |" not in PAGE]
    assert absent == []
