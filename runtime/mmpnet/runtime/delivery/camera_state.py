"""What is true of a camera now, kept up by its events: who is there, the counts, whether it gives images."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from mmpnet.runtime.delivery.home_assistant import CameraTopics, slugs_of
from mmpnet.runtime.events.event import CameraEvent


@dataclass(slots=True)
class CameraState:
    """The state of one camera; `classes` are those that count as people."""

    camera: CameraTopics
    classes: Collection[str]
    available: bool = True
    passed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a line or zone was passed, by its name and the direction."""
    _zones_of: dict[int, set[str]] = field(default_factory=dict)
    """The zones of each person who is there."""

    def happened(self, event: CameraEvent) -> None:
        """Take an event of this camera into account."""
        if event.event in ("stale", "back"):
            self.available = event.event == "back"
            return
        if event.class_name in self.classes and event.track is not None:
            self._follow(event, event.track)
        place = event.line or event.zone
        if place is not None and event.direction is not None:
            self.passed[place, event.direction] += 1

    def messages(self) -> dict[str, Any]:
        """The values by topic, to be published whenever they change."""
        return {
            self.camera.topic("available"): "online" if self.available else "offline",
            self.camera.topic("presence"): "ON" if self._zones_of else "OFF",
            self.camera.topic("people"): str(len(self._zones_of)),
            self.camera.topic("counts"): {
                "lines": {slug: self._directions(line) for slug, line in _by_slug(self.camera.lines)},
                "zones": {
                    slug: {"people": self._in_zone(zone), **self._directions(zone)}
                    for slug, zone in _by_slug(self.camera.zones)
                },
            },
        }

    def _follow(self, event: CameraEvent, track: int) -> None:
        if event.event == "gone":
            self._zones_of.pop(track, None)
            return
        zones = self._zones_of.setdefault(track, set())
        zones.update(event.zones)
        if event.event == "entered" and event.zone is not None:
            zones.add(event.zone)
        elif event.event == "left" and event.zone is not None:
            zones.discard(event.zone)

    def _in_zone(self, zone: str) -> int:
        return sum(zone in zones for zones in self._zones_of.values())

    def _directions(self, place: str) -> dict[str, int]:
        return {direction: self.passed[place, direction] for direction in ("in", "out")}


def _by_slug(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(slugs_of(names), names, strict=True))
