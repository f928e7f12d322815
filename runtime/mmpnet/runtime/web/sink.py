"""The sink of `mmp-run --serve`: a page, streams, metrics and a health check, for devices without a display.

It imports starlette, uvicorn and prometheus_client only when a sink is made, as only a server needs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MissingExtraError, OutputError, first_line
from mmpnet.runtime.pipeline.results import Result, result_as_dict
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.file_names import in_file_name
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.web.drawn_shape import ShapeSettings
from mmpnet.runtime.web.event_stream import EventStream
from mmpnet.runtime.web.listen import Address, is_loopback, listen, parse_address, phone_url
from mmpnet.runtime.web.mjpeg import MjpegFeed
from mmpnet.runtime.web.page import check_origin
from mmpnet.runtime.web.run_status import ServedModel, StatusRecorder

STALE_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Past:
    """What the page knows beside the run: the event store, the folder of recordings, and the settings to draw into."""

    store: Path | None = None
    recordings: Path | None = None
    shapes: ShapeSettings | None = None


NO_PAST = Past()


class ServeSink(Sink):
    """Serves the run over HTTP from its own thread; the run never waits for clients.

    It listens immediately, at `url`. An address outside loopback needs a `token`; with a token, every client must send
    it. The run must call `started` before the first result. past: what it shows beside the run. embed_in: origins, such
    as `https://home.example`, whose pages may show this one in a frame.

    Raises: MissingExtraError without the [serve] extra, OutputError for an address that cannot be used or that others
    can reach without a token, and for something else than origins.
    """

    def __init__(
        self,
        address: str,
        model: ServedModel,
        *,
        token: str | None = None,
        stale_after_s: float = STALE_AFTER_S,
        past: Past = NO_PAST,
        embed_in: Sequence[str] = (),
    ) -> None:
        try:
            from mmpnet.runtime.web.app import Feeds, make_app
            from mmpnet.runtime.web.auth import AuthMiddleware
            from mmpnet.runtime.web.history import History
            from mmpnet.runtime.web.metrics import Metrics
            from mmpnet.runtime.web.server import ServerThread
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"--serve needs {error.name}: pip install 'mmpnet[serve]'") from error
        except (ImportError, OSError, AttributeError) as error:
            advice = "install mmpnet[serve] again"
            raise MissingExtraError(f"--serve cannot load its packages ({first_line(error)}); {advice}") from error
        wanted = parse_address(address)
        _check_token(token, wanted)
        for origin in embed_in:
            check_origin(origin)
        self._class_names = model.class_names
        self._monitor = StatusRecorder(model, stale_after_s)
        self._images = MjpegFeed()
        self._news = EventStream()
        self._metrics = Metrics(self._monitor)
        history = None
        if past.store is not None:
            history = History(past.store, recordings=past.recordings, in_file_name=in_file_name)
        feeds = Feeds(self._monitor, self._images, self._news, self._metrics, history, past.shapes)
        listening = listen(wanted)
        address_used = Address(wanted.host, listening.getsockname()[1])
        self.url = address_used.url
        self.phone_url = phone_url(address_used, token)
        """The address that a phone in this network opens, with the token; None if only this machine is served."""
        self._server = ServerThread(AuthMiddleware(make_app(feeds, embed_in), token, embed_in), listening)

    @property
    def wants_annotated(self) -> bool:  # type: ignore[override]
        """Whether a client watches an image now."""
        return self._images.wanted

    def started(self, summary: Summary) -> None:
        self._monitor.started(summary.sources)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        self._monitor.record(result)
        self._metrics.observe(result)
        self._images.put(result, annotated_bgr)
        if self._news.listening:
            self._news.result(result_as_dict(result, self._class_names))
        return True

    def event(self, event: Event) -> None:
        self._monitor.event(event)
        self._news.event(event)
        if event.kind in ("stale", "reconnecting", "closed"):
            for stream in self._monitor.streams(event.source):
                self._images.warn(stream, event.kind.upper())

    def close(self) -> None:
        self._images.end()
        self._news.end()
        self._server.close()
        self._images.close()


def _check_token(token: str | None, address: Address) -> None:
    """Raises: OutputError if the token is empty, or is missing although others can reach the address."""
    if token is not None and not token.strip():
        raise OutputError("--serve: the token is empty; give one that is hard to guess")
    if token is None and not is_loopback(address.host):
        raise OutputError(
            f"--serve {address.host}:{address.port}: others can reach this address; give a token by "
            "MMPNET_TOKEN or --token-file FILE, or use 127.0.0.1"
        )
