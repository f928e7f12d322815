"""The MQTT topics of each camera, and the messages by which Home Assistant discovers them."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec

MADE_BY = "mmpnet"
RETAINED = ("available", "presence", "people", "counts", "snapshot")


class _Origin(msgspec.Struct):
    name: str


class _Topic(msgspec.Struct):
    topic: str


class _Announcement(msgspec.Struct):
    """What tells who made a message of discovery."""

    origin: _Origin
    availability: list[_Topic]


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """The topics of one camera, below `prefix/slug`; `lines` and `zones` are the names of those it counts at."""

    prefix: str
    name: str
    slug: str
    lines: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()

    def topic(self, what: str) -> str:
        """The topic of one of its values."""
        return f"{self.prefix}/{self.slug}/{what}"


def slugs_of(names: Sequence[str]) -> list[str]:
    """Names reduced to a-z, 0-9 and _ for topics and ids, all different."""
    slugs: list[str] = []
    for number, name in enumerate(names):
        plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
        slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or f"camera{number}"
        slugs.append(f"{slug}_{number}" if slug in slugs else slug)
    return slugs


def status_topic(prefix: str) -> str:
    """Where `online` and `offline` of the whole run are."""
    return f"{prefix}/status"


def discovery_messages(camera: CameraTopics, discovery_prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Topics and contents that make one device of a camera: its presence, its counters and its image."""
    node = f"{slugs_of([camera.prefix])[0]}_{camera.slug}"
    shared = {
        "availability": [{"topic": status_topic(camera.prefix)}, {"topic": camera.topic("available")}],
        "availability_mode": "all",
        "device": {
            "identifiers": [node],
            "name": camera.name,
            "manufacturer": MADE_BY,
            "sw_version": version("mmpnet"),
        },
        "origin": {"name": MADE_BY, "sw_version": version("mmpnet")},
    }
    for component, key, own in _entities(camera):
        unique = {"unique_id": f"{node}_{key}", "default_entity_id": f"{component}.{camera.slug}_{key}"}
        yield f"{discovery_prefix}/{component}/{node}/{key}/config", {**own, **unique, **shared}


def retained_topics(prefix: str, slug: str) -> list[str]:
    """The topics whose last message the broker keeps for a camera."""
    return [f"{prefix}/{slug}/{what}" for what in RETAINED]


def slug_announced(payload: bytes, prefix: str) -> str | None:
    """The slug of the camera that a message of discovery is about; None if a run with this prefix has not made it."""
    try:
        found = msgspec.json.decode(payload, type=_Announcement)
    except msgspec.DecodeError:
        return None
    topics = [one.topic for one in found.availability]
    if found.origin.name != MADE_BY or len(topics) != 2 or topics[0] != status_topic(prefix):
        return None
    slug = topics[1].removeprefix(f"{prefix}/").removesuffix("/available")
    return slug if topics[1] == f"{prefix}/{slug}/available" and "/" not in slug else None


def _entities(camera: CameraTopics) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Component, key and own settings of each entity."""
    yield (
        "binary_sensor",
        "presence",
        {"name": "Presence", "device_class": "occupancy", "state_topic": camera.topic("presence")},
    )
    yield (
        "sensor",
        "people",
        {
            "name": "People",
            "icon": "mdi:account-group",
            "state_class": "measurement",
            "state_topic": camera.topic("people"),
        },
    )
    yield (
        "image",
        "snapshot",
        {"name": "Last person", "content_type": "image/jpeg", "image_topic": camera.topic("snapshot")},
    )
    for line, slug in zip(camera.lines, slugs_of(camera.lines), strict=True):
        for direction in ("in", "out"):
            template = f"{{{{ value_json.lines.{slug}.{direction} }}}}"
            yield "sensor", f"line_{slug}_{direction}", _counter(camera, f"{line} {direction}", template)
    for zone, slug in zip(camera.zones, slugs_of(camera.zones), strict=True):
        template = f"{{{{ value_json.zones.{slug}.people }}}}"
        people = _counter(camera, f"{zone} people", template) | {"state_class": "measurement"}
        yield "sensor", f"zone_{slug}_people", people
        for direction in ("in", "out"):
            template = f"{{{{ value_json.zones.{slug}.{direction} }}}}"
            yield "sensor", f"zone_{slug}_{direction}", _counter(camera, f"{zone} {direction}", template)


def _counter(camera: CameraTopics, name: str, template: str) -> dict[str, Any]:
    return {
        "name": name,
        "icon": "mdi:counter",
        # A counter begins at 0 with each store, which Home Assistant understands by this class.
        "state_class": "total_increasing",
        "state_topic": camera.topic("counts"),
        "value_template": template,
    }
