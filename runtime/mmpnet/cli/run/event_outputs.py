"""Where the events of an mmp-run go: NDJSON, the store, MQTT, a webhook."""

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmpnet.cli.run.settings import EventFlags
from mmpnet.console.command import console
from mmpnet.runtime.analytics.analyzer import Analysis
from mmpnet.runtime.analytics.counting import PERSON
from mmpnet.runtime.delivery.sender import SenderOutput
from mmpnet.runtime.events.store import EventStore, Retention
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.recordings.retention import parse_keep
from mmpnet.runtime.sinks.event_lines import EventLines
from mmpnet.runtime.sinks.events import EventOutput, EventSink
from mmpnet.runtime.sources.frame import Source
from mmpnet.system.environment import from_environment

if TYPE_CHECKING:  # their libraries for TLS and HTTP take time to load, and few runs need them
    from mmpnet.runtime.delivery.mqtt import MqttBroker
    from mmpnet.runtime.delivery.webhook import Webhook

STORE_NAME = "mmpnet-events.sqlite"
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class EventOptions:
    """The options of events. `store` is set whenever there is a broker or a webhook."""

    lines: str | None = None
    store: Path | None = None
    retention: Retention | None = None
    broker: "MqttBroker | None" = None
    webhook: "Webhook | None" = None

    def __bool__(self) -> bool:
        return self.lines is not None or self.store is not None


def event_options(flags: EventFlags) -> EventOptions:
    """What the options of events say, with the secrets of the environment.

    Raises: typer.BadParameter, OutputError for values that cannot be.
    """
    try:
        broker = None if flags.mqtt is None else _broker(flags.mqtt, flags.mqtt_password, flags.mqtt_ca)
        secret = flags.webhook_secret or from_environment("MMPNET_WEBHOOK_SECRET")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    path = _store_path(flags.store, needed=broker is not None or flags.webhook is not None)
    if flags.webhook is None:
        return EventOptions(flags.events, path, _retention(flags.keep_events), broker)
    from mmpnet.runtime.delivery.webhook import Webhook

    return EventOptions(flags.events, path, _retention(flags.keep_events), broker, Webhook(flags.webhook, secret))


def with_page_store(options: EventOptions) -> EventOptions:
    """The options with a store for the page, if there is none: in the service's state directory, or until the end."""
    if options.store is not None:
        return options
    if os.environ.get("STATE_DIRECTORY"):
        return replace(options, store=_store_path(None, needed=True))
    folder = tempfile.mkdtemp(prefix="mmpnet-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    console().print("the page forgets its events at the end of the run; --store FILE keeps them")
    return replace(options, store=Path(folder) / STORE_NAME)


def _store_path(given: Path | None, *, needed: bool) -> Path | None:
    """Where the store is: as given, or if one is needed, in the state directory of the service or here."""
    if given is not None or not needed:
        return given
    path = Path(os.environ.get("STATE_DIRECTORY", ".").split(":")[0]) / STORE_NAME
    console().print(f"events are stored in {path}; --store FILE chooses another file")
    return path


def _retention(texts: Sequence[str]) -> Retention:
    """Limits such as `30d` and `1GB`; without any, those of Retention. Raises: typer.BadParameter."""
    if not texts:
        return Retention()
    try:
        keep = parse_keep(texts)
        return Retention(None if keep.age_s is None else keep.age_s / DAY_S, keep.size_bytes)
    except ValueError as error:
        raise typer.BadParameter(f"--keep-events: {error}") from error


def _broker(address: str, password: str | None, ca_file: Path | None) -> "MqttBroker":
    """The broker at an address, with the password of the environment unless there is one. Raises: ValueError."""
    from mmpnet.runtime.delivery.mqtt import MqttBroker, parse_broker

    try:
        host, port, tls, user, typed, prefix = parse_broker(address)
    except ValueError as error:
        raise ValueError(f"--mqtt: {error}") from error
    if ca_file is not None and not tls:
        raise ValueError("--mqtt-ca is for brokers with TLS; use mqtts://")
    return MqttBroker(
        host, port, tls, user, typed or password or from_environment("MMPNET_MQTT_PASSWORD"), prefix, ca_file
    )


def event_sinks(
    options: EventOptions,
    sources: Sequence[Source],
    analyses: Sequence[Analysis],
    *,
    stale_after_s: float,
    stop: threading.Event,
) -> list[Sink]:
    """The sink of events with its outputs; analyses: of each source. Raises: OutputError, MissingExtraError."""
    class_names = analyses[0].class_names
    outputs: list[EventOutput] = []
    if options.lines is not None:
        paths = [path for source in sources for path in source.paths]
        outputs.append(EventLines(options.lines, sources=paths, stop=stop, notify=console().print))
    if options.store is not None:
        senders, wakes = _senders(options, options.store, analyses)
        destinations = [name for name, used in (("mqtt", options.broker), ("webhook", options.webhook)) if used]
        notify = console().print
        store = EventStore(options.store, destinations=destinations, retention=options.retention, notify=notify)
        # The writer is closed first, so that the last events are sent too.
        outputs += [StoreWriter(store, stored=wakes, notify=notify), *senders]
    snapshots = options.store is not None
    return [EventSink(outputs, class_names, stale_after_s=stale_after_s, snapshots=snapshots)]


def _senders(
    options: EventOptions, store: Path, analyses: Sequence[Analysis]
) -> tuple[list[EventOutput], list[Callable[[], None]]]:
    """The outputs that send what is in the store, and the functions that wake them."""
    outputs: list[EventOutput] = []
    wakes: list[Callable[[], None]] = []
    if options.broker is not None:
        from mmpnet.runtime.delivery.mqtt import CountedPlaces, MqttOutput

        places = [
            CountedPlaces(tuple(one.name for one in each.lines), tuple(one.name for one in each.zones))
            for each in analyses
        ]
        names = analyses[0].class_names
        people = {PERSON} if PERSON in names else set(names)
        mqtt = MqttOutput(options.broker, store, places=places, people=people, notify=console().print)
        outputs.append(mqtt)
        wakes.append(mqtt.sender.wake)
    if options.webhook is not None:
        webhook = SenderOutput(store, options.webhook, notify=console().print)
        outputs.append(webhook)
        wakes.append(webhook.sender.wake)
    return outputs, wakes
