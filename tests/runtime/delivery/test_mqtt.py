"""Events and states reach a real broker, through its restarts, with Home Assistant's discovery."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.delivery.camera_state import CameraState
from mmpnet.runtime.delivery.home_assistant import CameraTopics, discovery_messages, slugs_of
from mmpnet.runtime.delivery.mqtt import CountedPlaces, MqttBroker, MqttOutput, parse_broker
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.reader import EventReader
from mmpnet.runtime.events.snapshot import Snapshot
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from support.mosquitto import MOSQUITTO, Mosquitto
from support.store_process import NOON, make_event

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
CAMERA = "Front door"


class Listener:
    """Another client of the broker, which keeps every message from its construction on."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2)
        # Events are not retained, so it must be back before the site, which tries again after a second. The client
        # takes fractions of a second, although its types do not say so.
        self._client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._take
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        if not subscribed.wait(40):
            raise TimeoutError("the broker did not answer the subscription")

    def _take(self, _client: object, _data: object, message: Any) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish a message that the broker keeps."""
        self._client.publish(topic, payload, qos=1, retain=True)

    def last(self, topic: str) -> bytes | None:
        return next((payload for name, payload in reversed(self.messages) if name == topic), None)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in self.messages if topic.endswith("/event")]

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 40), [topic for topic, _ in self.messages]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Site:
    """One camera whose events go to a store and a broker."""

    folder: Path
    broker: MqttBroker
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        store = EventStore(self.folder / "e.sqlite", destinations=["mqtt"])
        self.path = store.path
        places = [CountedPlaces(("entrance",), ("till",))]
        self.output = MqttOutput(
            self.broker, store.path, places=places, people={"person"}, notify=self.notices.append, longest_reconnect_s=1
        )
        self.writer = StoreWriter(store, stored=[self.output.sender.wake], now=lambda: NOON)
        summary = Summary(sources=[SourceCounts(CAMERA, live=True)])
        self.writer.started(summary)
        self.output.started(summary)

    def happen(self, kind: str, *, snapshot: bool = False, **facts: object) -> str:
        event = make_event(0, event=kind, camera=CAMERA, class_name="person", track=1, snapshot=snapshot, **facts)
        image = Snapshot(np.full((8, 8, 3), 9, np.uint8), (0, 0, 1, 1)) if snapshot else None
        self.writer.put(Happening(event, image))
        self.output.put(Happening(event, image))
        return event.id

    def announced(self) -> list[tuple[str, Any]]:
        camera = CameraTopics(self.broker.prefix, CAMERA, "front_door", ("entrance",), ("till",))
        return list(discovery_messages(camera, "homeassistant"))

    def close(self) -> None:
        self.writer.close()
        self.output.close()


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


def at(mosquitto: Mosquitto) -> MqttBroker:
    return MqttBroker("127.0.0.1", mosquitto.port)


@needs_mosquitto
def test_a_person_turns_the_sensor_on_and_off_and_each_event_arrives_once(tmp_path: Path, mosquitto: Mosquitto) -> None:
    listener = Listener(mosquitto.port)
    site = Site(tmp_path, at(mosquitto))
    listener.wait(lambda: listener.last("mmpnet/status") == b"online")
    assert listener.last("mmpnet/front_door/presence") == b"OFF"
    ids = [site.happen("appeared", snapshot=True, zones=("till",))]
    listener.wait(lambda: listener.last("mmpnet/front_door/presence") == b"ON")
    ids.append(site.happen("crossed", line="entrance", direction="in"))
    ids.append(site.happen("gone"))
    listener.wait(lambda: len(listener.events()) == 3 and listener.last("mmpnet/front_door/presence") == b"OFF")
    assert [event["id"] for event in listener.events()] == ids
    image = listener.last("mmpnet/front_door/snapshot")
    assert image is None or image.startswith(b"\xff\xd8"), "only of the newest event"
    counts = json.loads(listener.last("mmpnet/front_door/counts") or b"")
    assert counts == {
        "lines": {"entrance": {"in": 1, "out": 0}},
        "zones": {"till": {"people": 0, "in": 0, "out": 0}},
    }
    site.close()
    listener.wait(lambda: listener.last("mmpnet/status") == b"offline")
    assert EventReader(site.path).waiting() == {}
    listener.close()


@needs_mosquitto
def test_home_assistant_finds_a_camera_that_was_announced_before_it_came(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site = Site(tmp_path, at(mosquitto))
    site.happen("appeared", snapshot=True)
    listener = Listener(mosquitto.port)
    topic = "homeassistant/binary_sensor/mmpnet_front_door/presence/config"
    listener.wait(lambda: listener.last(topic) is not None and listener.last("mmpnet/front_door/snapshot") is not None)
    config = json.loads(listener.last(topic) or b"")
    assert config["state_topic"] == "mmpnet/front_door/presence"
    assert [one["topic"] for one in config["availability"]] == ["mmpnet/status", "mmpnet/front_door/available"]
    assert config["device"]["name"] == CAMERA
    site.close()
    listener.close()


@needs_mosquitto
def test_counts_go_on_in_the_next_run(tmp_path: Path, mosquitto: Mosquitto) -> None:
    for expected in (1, 2):
        site = Site(tmp_path, at(mosquitto))
        site.happen("crossed", line="entrance", direction="in")
        listener = Listener(mosquitto.port)

        def counted(listener: Listener = listener) -> int:
            counts = json.loads(listener.last("mmpnet/front_door/counts") or b"{}")
            return int(counts["lines"]["entrance"]["in"]) if counts else 0

        listener.wait(lambda counted=counted, expected=expected: counted() == expected)  # type: ignore[misc]
        site.close()
        listener.close()


@needs_mosquitto
def test_what_a_removed_camera_has_left_is_taken_back_and_nothing_else(tmp_path: Path, mosquitto: Mosquitto) -> None:
    listener = Listener(mosquitto.port)
    removed = [
        CameraTopics("mmpnet", "Yard", "yard", ("gate",)),
        CameraTopics("mmpnet", CAMERA, "front_door", ("old",)),
    ]
    others = [CameraTopics("mmpnet/barn", "Yard", "yard"), CameraTopics("barn", "Yard", "yard")]
    kept = {"homeassistant/sensor/other/people/config": b'{"name": "other"}', "mmpnet/barn/yard/snapshot": b"image"}
    gone = {"mmpnet/yard/snapshot": b"image", "mmpnet/yard/available": b"online"}
    for topics, where in ((removed, gone), (others, kept)):
        for camera in topics:
            where.update(
                (topic, msgspec.json.encode(made)) for topic, made in discovery_messages(camera, "homeassistant")
            )
    for topic, payload in {**gone, **kept}.items():
        listener.publish(topic, payload)
    listener.wait(lambda: all(listener.last(topic) is not None for topic in (*gone, *kept)))
    site = Site(tmp_path, at(mosquitto))
    own = {topic for topic, _ in site.announced()}
    listener.wait(lambda: all(listener.last(topic) == b"" for topic in gone if topic not in own))
    site.close()
    assert all(listener.last(topic) == payload for topic, payload in kept.items())
    assert all(listener.last(topic) for topic in own)
    listener.close()


@needs_mosquitto
def test_nothing_is_lost_while_the_broker_is_away(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site, listener = Site(tmp_path, at(mosquitto)), Listener(mosquitto.port)
    ids = [site.happen("appeared")]
    listener.wait(lambda: len(listener.events()) == 1)
    mosquitto.stop()
    ids += [site.happen("crossed", line="entrance", direction="in") for _ in range(5)]
    mosquitto.start()
    listener.wait(lambda: {event["id"] for event in listener.events()} == set(ids))
    listener.wait(lambda: b'"entrance":{"in":5,"out":0}' in (listener.last("mmpnet/front_door/counts") or b""))
    site.close()
    listener.close()


@needs_mosquitto
def test_a_broker_that_is_not_there_is_reported_once_and_when_it_is_back(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    site = Site(tmp_path, MqttBroker("127.0.0.1", mosquitto.port))
    where = f"127.0.0.1:{mosquitto.port}"
    try:
        wait_until(lambda: len(site.notices) == 1)
        assert site.notices == [
            f"mqtt: {where} cannot be reached; check the address; trying again, events wait in the store"
        ]
        mosquitto.start()
        wait_until(lambda: len(site.notices) == 2)
        assert site.notices[1] == f"mqtt: connected to {where}"
    finally:
        site.close()


@needs_mosquitto
def test_a_camera_that_is_stale_is_not_available(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site, listener = Site(tmp_path, at(mosquitto)), Listener(mosquitto.port)
    site.happen("stale", reason="no frame")
    listener.wait(lambda: listener.last("mmpnet/front_door/available") == b"offline")
    site.happen("back")
    listener.wait(lambda: listener.last("mmpnet/front_door/available") == b"online")
    site.close()
    listener.close()


@needs_mosquitto
def test_a_wrong_password_is_one_line_and_the_events_wait(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "door", "secret"], check=True)
    passwords.chmod(0o600)
    mosquitto = Mosquitto(tmp_path, extra=f"allow_anonymous false\npassword_file {passwords}")
    site = Site(tmp_path, MqttBroker("127.0.0.1", mosquitto.port, user="door", password="wrong"))
    ident = site.happen("appeared")
    wait_until(lambda: any("refuses" in one for one in site.notices))
    site.close()
    assert any(
        "refuses the connection (Not authorized); check the user and the password" in one for one in site.notices
    )
    assert not any("wrong" in one for one in site.notices)
    assert EventReader(site.path).latest()[0].event.id == ident
    assert EventReader(site.path).waiting() == {"mqtt": 1}
    site = Site(tmp_path, MqttBroker("127.0.0.1", mosquitto.port, user="door", password="secret"))
    wait_until(lambda: not EventReader(site.path).waiting())
    site.close()
    mosquitto.stop()


@needs_mosquitto
def test_a_broker_with_tls_is_verified(tmp_path: Path) -> None:
    subject, names = ["-subj", "/CN=localhost"], ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *names]
    subprocess.run(
        [*command, "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True
    )
    (tmp_path / "key.pem").chmod(0o644)
    tls = f"allow_anonymous true\ncertfile {tmp_path / 'cert.pem'}\nkeyfile {tmp_path / 'key.pem'}"
    mosquitto = Mosquitto(tmp_path, extra=tls)
    trusted = MqttBroker("127.0.0.1", mosquitto.port, tls=True, ca_file=tmp_path / "cert.pem")
    site = Site(tmp_path, MqttBroker("127.0.0.1", mosquitto.port, tls=True))
    site.happen("appeared")
    wait_until(lambda: any("not connected" in one for one in site.notices))
    site.close()
    assert EventReader(site.path).waiting() == {"mqtt": 1}
    site = Site(tmp_path, trusted)
    wait_until(lambda: not EventReader(site.path).waiting())
    site.close()
    mosquitto.stop()


# --- without a broker ---


def test_the_address_of_a_broker() -> None:
    assert parse_broker("mqtt://host") == ("host", 1883, False, None, None, "mmpnet")
    assert parse_broker("mqtts://me%40home:p%2Fw@host/a/b/") == ("host", 8883, True, "me@home", "p/w", "a/b")
    assert parse_broker("mqtt://[::1]:99/x")[:2] == ("::1", 99)
    for wrong in ("host", "http://host", "mqtt://", "mqtt://host/a/#", "mqtt://host:99999", "mqtt://host?x=1"):
        with pytest.raises(ValueError, match=r"expected|must not|not a number"):
            parse_broker(wrong)


def test_certificates_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "missing.pem"):
        broker = MqttBroker("host", 8883, tls=True, ca_file=tmp_path / name)
        with pytest.raises(OutputError, match=rf"--mqtt: .*{name}: cannot be used .*expected PEM files"):
            MqttOutput(broker, tmp_path / "e.sqlite", places=[], people=())


def test_slugs_are_plain_and_different() -> None:
    assert slugs_of(["Front door", "front-door", "Tür", "大门", ""]) == [
        "front_door",
        "front_door_1",
        "tur",
        "camera3",
        "camera4",
    ]


def test_every_entity_has_an_id_of_its_own_and_reads_a_topic_that_is_published() -> None:
    topics = CameraTopics("home/mmpnet", CAMERA, "front_door", ("entrance", "Exit A"), ("till",))
    published = CameraState(topics, {"person"}).messages()
    messages = list(discovery_messages(topics, "homeassistant"))
    assert len({content["unique_id"] for _, content in messages}) == len(messages) == 3 + 4 + 3
    for topic, content in messages:
        assert topic.startswith("homeassistant/")
        read = content.get("state_topic")
        if read is None:
            assert content["image_topic"] == "home/mmpnet/front_door/snapshot"
            continue
        assert read in published
        if "value_template" in content:
            _, *path = content["value_template"].strip("{} ").split(".")
            value = published[read]
            for key in path:
                value = value[key]
            assert value == 0


def test_the_state_of_a_camera_follows_its_events() -> None:
    topics = CameraTopics("mmpnet", CAMERA, "front_door", ("entrance",), ("till",))
    state = CameraState(topics, {"person"})

    def now() -> tuple[str, str, int]:
        values = state.messages()
        people_in_zone = values["mmpnet/front_door/counts"]["zones"]["till"]["people"]
        return values["mmpnet/front_door/presence"], values["mmpnet/front_door/people"], people_in_zone

    def happen(kind: str, track: int, *, class_name: str = "person", **facts: object) -> None:
        state.happened(make_event(0, event=kind, class_name=class_name, track=track, **facts))

    happen("appeared", 1)
    assert now() == ("ON", "1", 0)
    happen("entered", 1, zone="till", direction="in")
    happen("appeared", 2, zones=("till",))
    happen("appeared", 3, class_name="dog")
    assert now() == ("ON", "2", 2)
    happen("left", 1, zone="till", direction="out")
    assert now() == ("ON", "2", 1)
    happen("gone", 2, zones=("till",))
    happen("gone", 1)
    assert now() == ("OFF", "0", 0)
    assert state.messages()["mmpnet/front_door/counts"]["zones"]["till"] == {"people": 0, "in": 1, "out": 1}
