"""Publish events, states and snapshots to an MQTT broker, with Home Assistant's discovery."""

import re
import secrets
import ssl
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from mmpnet.contract.errors import MissingExtraError, OutputError
from mmpnet.runtime.delivery.camera_state import CameraState
from mmpnet.runtime.delivery.home_assistant import (
    CameraTopics,
    discovery_messages,
    retained_topics,
    slug_announced,
    slugs_of,
    status_topic,
)
from mmpnet.runtime.delivery.sender import OutboxSender, RetryError
from mmpnet.runtime.events.event import encode_event
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.reader import EventReader
from mmpnet.runtime.events.store import StoredEvent
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.system.progress import Notice, no_notice

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

PREFIX, DISCOVERY_PREFIX = "mmpnet", "homeassistant"
ACKNOWLEDGED_WITHIN_S = 10.0
KEEP_ALIVE_S = 30
STATE_QOS = 0
"""With 1, the client would repeat old states after a reconnection, behind the new ones that it has just sent."""
LONGEST_RECONNECT_S = 30
_PLAIN_PORT, _TLS_PORT = 1883, 8883


@dataclass(frozen=True, slots=True)
class MqttBroker:
    """Where a broker is and how to log in. `ca_file`: the authority of its certificate, if it is not a public one;
    `certificate_file` and `key_file`: the client's own."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = None
    prefix: str = PREFIX
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class CountedPlaces:
    """Names of the lines and zones of one camera."""

    lines: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


def parse_broker(address: str) -> tuple[str, int, bool, str | None, str | None, str]:
    """Host, port, whether TLS, user, password and topic prefix of `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]`.

    Raises: ValueError for anything else; the message does not contain the address.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ValueError("its port is not a number from 0 to 65535") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("expected mqtt://[USER@]HOST[:PORT][/PREFIX], or mqtts:// with TLS")
    prefix = parts.path.strip("/") or PREFIX
    if re.search(r"[+\0]", prefix) or re.search(r"[?#]", address):
        raise ValueError("the topic prefix must not contain +, # or ?")
    tls = parts.scheme == "mqtts"
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return parts.hostname, port or (_TLS_PORT if tls else _PLAIN_PORT), tls, user, password, prefix


class MqttOutput:
    """Publishes a run's events, and the state of each camera.

    Events come from the outbox `mqtt` of the store at `path`, each until the broker has acknowledged it. States are
    published when they change and after each reconnection; counts go on from those of the store. What an earlier run
    with this prefix has announced, and this one does not have, is taken back. `places`: the lines and zones of each
    camera, in the order of CameraEvent.stream. `people`: names of the classes that count as people.

    Raises: MissingExtraError without the [mqtt] extra, OutputError for files that cannot be used.
    """

    name = "mqtt"

    def __init__(
        self,
        broker: MqttBroker,
        path: Path,
        *,
        places: Sequence[CountedPlaces],
        people: Collection[str],
        discovery_prefix: str | None = DISCOVERY_PREFIX,
        notify: Notice = no_notice,
        longest_reconnect_s: int = LONGEST_RECONNECT_S,
    ) -> None:
        self._broker = broker
        self._path = path
        self._places = places
        self._people = people
        self._discovery_prefix = discovery_prefix
        self._notify = notify
        self._lock = threading.Lock()
        self._states: list[CameraState] = []
        self._published: dict[str, Any] = {}
        self._announced: dict[str, bytes] = {}
        self._refused: str | None = None
        self._reported_unreachable = False
        self._client = _client(broker)
        self._client.reconnect_delay_set(1, longest_reconnect_s)
        self._client.will_set(status_topic(broker.prefix), "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreachable
        self._client.on_message = self._received
        self.sender = OutboxSender(path, self, notify=notify)

    def started(self, summary: Summary) -> None:
        """Connect in the background, and start sending."""
        names = [counts.source for counts in summary.sources]
        stored = EventReader(self._path)
        for name, slug, place in zip(names, slugs_of(names), self._places, strict=True):
            topics = CameraTopics(self._broker.prefix, name, slug, place.lines, place.zones)
            state = CameraState(topics, self._people)
            state.passed.update(stored.totals(name))
            self._states.append(state)
            announced = () if self._discovery_prefix is None else discovery_messages(topics, self._discovery_prefix)
            self._announced.update((topic, msgspec.json.encode(content)) for topic, content in announced)
        self._client.connect_async(self._broker.host, self._broker.port, KEEP_ALIVE_S)
        self._client.loop_start()
        self.sender.start()

    def put(self, happening: Happening) -> bool:
        """Update the state of the event's camera; the event itself comes from the outbox."""
        with self._lock:
            state = self._states[happening.event.stream]
            state.happened(happening.event)
            if self._client.is_connected():
                self._publish_changes(state)
        return True

    def finished(self, summary: Summary) -> None:
        """Nothing, as `close` sends what waits."""

    def deliver(self, stored: StoredEvent, jpeg: bytes | None, *, newest: bool) -> None:
        """Publish one event, and its snapshot if no newer event waits. Raises: RetryError."""
        if not self._client.is_connected():
            raise RetryError(f"not connected to {self._broker.host}:{self._broker.port}")
        camera = self._states[stored.event.stream].camera if stored.event.stream < len(self._states) else None
        if camera is None or camera.name != stored.event.camera:  # of a run with other cameras
            camera = CameraTopics(self._broker.prefix, stored.event.camera, slugs_of([stored.event.camera])[0])
        if jpeg is not None and newest:
            self._client.publish(camera.topic("snapshot"), jpeg, qos=0, retain=True)
        sent = self._client.publish(camera.topic("event"), encode_event(stored.event), qos=1)
        try:
            sent.wait_for_publish(ACKNOWLEDGED_WITHIN_S)
            arrived = sent.is_published()
        except (RuntimeError, ValueError) as error:
            raise RetryError(error) from error
        if not arrived:
            raise RetryError(f"the broker did not acknowledge it within {ACKNOWLEDGED_WITHIN_S:g} s")

    def close(self) -> None:
        """Send what is left if the broker is there, say that the run is offline, and disconnect."""
        self.sender.close()
        if self._client.is_connected():
            sent = self._client.publish(status_topic(self._broker.prefix), "offline", qos=1, retain=True)
            sent.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, _client: "Client", _data: object, _flags: object, reason: Any, _properties: object) -> None:
        """Called by the client's thread after each attempt that the broker has answered."""
        if reason.is_failure:
            if self._refused != str(reason):
                self._refused = str(reason)
                where = f"{self._broker.host}:{self._broker.port}"
                self._notify(f"mqtt: {where} refuses the connection ({reason}); check the user and the password")
            return
        self._refused = None
        if self._reported_unreachable:
            self._reported_unreachable = False
            self._notify(f"mqtt: connected to {self._broker.host}:{self._broker.port}")
        with self._lock:
            self._published.clear()
            for topic, content in self._announced.items():
                self._client.publish(topic, content, qos=STATE_QOS, retain=True)
            for state in self._states:
                self._publish_changes(state)
            self._client.publish(status_topic(self._broker.prefix), "online", qos=STATE_QOS, retain=True)
        if self._discovery_prefix is not None:  # the broker sends what earlier runs have announced
            self._client.subscribe(f"{self._discovery_prefix}/+/+/+/config")
        self.sender.hurry()

    def _unreachable(self, _client: "Client", _data: object) -> None:
        """Called by the client's thread after each attempt to which nobody has answered; reports the first one."""
        if not self._reported_unreachable:
            self._reported_unreachable = True
            where = f"{self._broker.host}:{self._broker.port}"
            self._notify(f"mqtt: {where} cannot be reached; check the address; trying again, events wait in the store")

    def _received(self, client: "Client", _data: object, message: "MQTTMessage") -> None:
        """Called by the client's thread; takes back what an earlier run announced and this one does not have."""
        if not message.retain or message.topic in self._announced:
            return
        slug = slug_announced(bytes(message.payload), self._broker.prefix)
        if slug is None:
            return
        client.publish(message.topic, b"", qos=STATE_QOS, retain=True)
        if slug not in {state.camera.slug for state in self._states}:
            for topic in retained_topics(self._broker.prefix, slug):
                client.publish(topic, b"", qos=STATE_QOS, retain=True)

    def _publish_changes(self, state: CameraState) -> None:
        for topic, value in state.messages().items():
            if self._published.get(topic) != value:
                self._published[topic] = value
                text = value if isinstance(value, str) else msgspec.json.encode(value)
                self._client.publish(topic, text, qos=STATE_QOS, retain=True)


def _client(broker: MqttBroker) -> "Client":
    """A client that is not connected yet. Raises: MissingExtraError, OutputError."""
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ModuleNotFoundError as error:
        raise MissingExtraError("--mqtt needs paho-mqtt: pip install 'mmpnet[mqtt]'") from error
    # The store remembers what was not acknowledged, so the broker need not.
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"mmpnet-{secrets.token_hex(6)}", clean_session=True)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        try:
            context = ssl.create_default_context(cafile=broker.ca_file)
            if broker.certificate_file is not None:
                context.load_cert_chain(broker.certificate_file, broker.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in (broker.ca_file, broker.certificate_file, broker.key_file) if file)
            raise OutputError(f"--mqtt: {files}: cannot be used ({error}); expected PEM files") from error
        client.tls_set_context(context)
    return client
