"""The routes of the web server and their responses."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mmpnet.runtime.web.drawn_shape import ShapeSettings
from mmpnet.runtime.web.event_stream import EventStream
from mmpnet.runtime.web.history import History
from mmpnet.runtime.web.history_routes import HistoryEndpoints
from mmpnet.runtime.web.metrics import Metrics
from mmpnet.runtime.web.mjpeg import BOUNDARY, MjpegFeed
from mmpnet.runtime.web.page import load_page
from mmpnet.runtime.web.run_status import StatusRecorder
from mmpnet.runtime.web.shape_routes import ShapeEndpoints

SNAPSHOT_WAIT_S = 2.0
JSON = "application/json"
MJPEG = f"multipart/x-mixed-replace; boundary={BOUNDARY}"


@dataclass(frozen=True, slots=True)
class Feeds:
    """The data that the run writes and the server reads."""

    monitor: StatusRecorder
    images: MjpegFeed
    news: EventStream
    metrics: Metrics
    history: History | None = None
    shapes: ShapeSettings | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The responses; each method belongs to one address."""

    feeds: Feeds

    async def snapshot(self, request: Request) -> Response:
        """The newest image; with `?seen=NUMBER`, the next image after that one."""
        stream, seen = self._stream(request), _number(request.query_params.get("seen", ""))
        image = await self.feeds.images.other_than(seen, stream, SNAPSHOT_WAIT_S)
        if image is None:
            source = self.feeds.monitor.status().sources[stream]
            why = source.problem or "frames come too slowly"
            return Response(f"no image for {SNAPSHOT_WAIT_S:g} s ({why})\n", 503, media_type="text/plain")
        jpeg = await self.feeds.images.jpeg(image)
        return Response(jpeg, media_type="image/jpeg", headers=image.headers)

    async def mjpeg(self, request: Request) -> Response:
        """The images of one source, as a stream in which each replaces the last."""
        return _streamed(request, self.feeds.images.parts(self._stream(request)), MJPEG)

    async def detections(self, request: Request) -> Response:
        """Results and events as server-sent events."""
        return _streamed(request, self.feeds.news.stream(), "text/event-stream")

    async def status(self, request: Request) -> Response:
        """Everything that the page shows beside the images."""
        del request
        return Response(msgspec.json.encode(self.feeds.monitor.status()), media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        """The metrics for Prometheus."""
        body, content_type = self.feeds.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    async def healthz(self, request: Request) -> Response:
        """200 if every source and the provider are healthy, else 503, with the reasons."""
        del request
        status = self.feeds.monitor.status()
        health = {
            "healthy": not status.problems,
            "problems": status.problems,
            "sources": {source.name: source.state for source in status.sources},
        }
        code = HTTPStatus.SERVICE_UNAVAILABLE if status.problems else HTTPStatus.OK
        return Response(msgspec.json.encode(health), code, media_type=JSON)

    def _stream(self, request: Request) -> int:
        """The stream that a request names. Raises: HTTPException if it does not exist."""
        count, text = len(self.feeds.monitor.status().sources), request.query_params.get("source", "0")
        if not count:
            raise HTTPException(503, "the run has not started\n")
        stream = _number(text)
        if stream is None or stream >= count:
            raise HTTPException(404, f"source is {text[:20]!r}; expected a number from 0 to {count - 1}\n")
        return stream


def make_app(feeds: Feeds, embed_in: Sequence[str] = ()) -> Starlette:
    """The ASGI application; while it runs, it also calls the monitor's tick. embed_in: origins whose pages may show it
    in a frame."""
    endpoints, page = Endpoints(feeds), load_page(embed_in)

    async def index(request: Request) -> Response:
        del request
        return Response(page.html, media_type="text/html", headers={"Content-Security-Policy": page.policy})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        feeds.images.notifier.attach()
        feeds.news.notifier.attach()
        ticking = asyncio.create_task(_tick(feeds.monitor))
        yield
        ticking.cancel()

    routes = [
        Route("/", index),
        Route("/stream.mjpg", endpoints.mjpeg),
        Route("/snapshot.jpg", endpoints.snapshot),
        Route("/detections", endpoints.detections),
        Route("/status", endpoints.status),
        Route("/metrics", endpoints.metrics),
        Route("/healthz", endpoints.healthz),
        *HistoryEndpoints(feeds.history, feeds.monitor).routes(),
        *ShapeEndpoints(feeds.shapes, feeds.monitor).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _streamed(request: Request, body: AsyncIterator[bytes], media_type: str) -> Response:
    headers = {"X-Accel-Buffering": "no"}
    if request.method == "HEAD":  # a response without body, which nothing would end
        response = Response(headers=headers, media_type=media_type)
        del response.headers["Content-Length"]  # the length of a stream is unknown, not 0
        return response
    return StreamingResponse(body, media_type=media_type, headers=headers)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


async def _tick(monitor: StatusRecorder) -> None:
    while True:
        await asyncio.sleep(1)
        monitor.tick()
