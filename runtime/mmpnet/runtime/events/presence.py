"""Turn the tracks of one camera into events of people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from msgspec.structs import replace

from mmpnet.runtime.analytics.tracker import NO_TRACK
from mmpnet.runtime.analytics.tracks import Passage, Tracks
from mmpnet.runtime.events.event import CameraEvent, EventKind, new_id
from mmpnet.runtime.events.snapshot import BETTER, FrameSnapshot, Snapshot, quality
from mmpnet.runtime.pipeline.results import Result

GONE_AFTER_S = 2.5
"""A person who is not seen for this long is gone; longer than a lost track can be joined again (REJOIN_S)."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event and, if it has one, its snapshot."""

    event: CameraEvent
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame was captured: on the clock of its tracks, of the day, and in its source."""

    time_s: float
    at: datetime
    source_time_s: float


@dataclass(slots=True)
class _Person:
    track: int
    class_name: str
    first: Moment
    last: Moment
    score: float = 0.0
    confirmed: bool = False
    zones: tuple[str, ...] = ()
    in_zone_since_s: dict[str, float] = field(default_factory=dict)
    best: Snapshot | None = None
    best_quality: float = 0.0


class PresenceEvents:
    """Makes the events of the people of one camera: appeared, gone, entered, left, crossed.

    Only confirmed tracks (`Tracks.confirmed`) make events. A person is gone after GONE_AFTER_S without a detection.
    `class_names`: the model's, by class id. `snapshots`: keep the best image of each person.
    """

    def __init__(self, camera: str, stream: int, class_names: Sequence[str], *, snapshots: bool = True) -> None:
        self.camera = camera
        self.stream = stream
        self._class_names = class_names
        self._snapshots = snapshots
        self._people: dict[int, _Person] = {}

    @property
    def present(self) -> int:
        """How many confirmed people there are."""
        return sum(person.confirmed for person in self._people.values())

    def in_zone(self, zone: str) -> int:
        """How many confirmed people are in a zone."""
        return sum(person.confirmed and zone in person.zones for person in self._people.values())

    def update(self, result: Result) -> list[Happening]:
        """The events of one frame with its tracks, in the order in which they happened."""
        tracks = result.tracks
        if tracks is None:
            return []
        moment = moment_of(result, tracks)
        gone = self.expire(moment.time_s)
        appeared = self._see(result, tracks, moment)
        passed = [self._passed(passage, moment) for passage in tracks.passages if passage.track_id in self._people]
        return [*gone, *appeared, *passed]

    def expire(self, time_s: float) -> list[Happening]:
        """The events `gone` of people who were not seen for GONE_AFTER_S at this time, on the clock of the tracks."""
        lost = [person for person in self._people.values() if time_s - person.last.time_s > GONE_AFTER_S]
        return self._gone(lost)

    def end(self) -> list[Happening]:
        """The events at the end of the run: whoever is present is gone."""
        return self._gone(list(self._people.values()))

    def _see(self, result: Result, tracks: Tracks, moment: Moment) -> list[Happening]:
        frame = FrameSnapshot(result.frame.pixels_bgr)
        detections, happenings = result.detections, []
        for row in np.flatnonzero(tracks.ids != NO_TRACK).tolist():
            track, score = int(tracks.ids[row]), float(detections.score[row])
            person = self._people.get(track)
            if person is None:
                name = self._class_names[int(detections.class_id[row])]
                person = self._people[track] = _Person(track, name, moment, moment)
            person.last, person.score = moment, max(person.score, score)
            self._set_zones(person, tracks.zones[row] if tracks.zones else (), moment.time_s)
            good = quality(detections.xyxy[row], score)
            if self._snapshots and good > person.best_quality * BETTER:
                person.best, person.best_quality = frame.of(detections.xyxy[row]), good
            if not person.confirmed and (tracks.confirmed is None or tracks.confirmed[row]):
                person.confirmed = True
                appeared = self._event("appeared", person, person.first)
                happenings.append(Happening(replace(appeared, zones=person.zones), person.best))
        return happenings

    def _set_zones(self, person: _Person, zones: tuple[str, ...], time_s: float) -> None:
        for zone in zones:
            if zone not in person.zones:
                person.in_zone_since_s[zone] = time_s
        person.zones = zones

    def _passed(self, passage: Passage, moment: Moment) -> Happening:
        person, name = self._people[passage.track_id], passage.name
        if passage.shape == "line":
            event = replace(self._event("crossed", person, moment), line=name, direction=passage.direction)
        elif passage.direction == "in":
            event = replace(self._event("entered", person, moment), zone=name, direction="in")
        else:
            since_s = person.in_zone_since_s.get(name, moment.time_s)
            stay_s = round(moment.time_s - since_s, 3)
            event = replace(self._event("left", person, moment), zone=name, direction="out", duration_s=stay_s)
        return Happening(event, person.best)

    def _gone(self, people: Sequence[_Person]) -> list[Happening]:
        happenings = []
        for person in people:
            del self._people[person.track]
            if person.confirmed:
                stay_s = round(person.last.time_s - person.first.time_s, 3)
                event = replace(self._event("gone", person, person.last), zones=person.zones, duration_s=stay_s)
                happenings.append(Happening(event, person.best))
        return happenings

    def _event(self, kind: EventKind, person: _Person, moment: Moment) -> CameraEvent:
        return CameraEvent(
            id=new_id(),
            event=kind,
            camera=self.camera,
            stream=self.stream,
            at=moment.at,
            source_time_s=round(moment.source_time_s, 3),
            track=person.track,
            class_name=person.class_name,
            score=round(person.score, 4),
            box=None if person.best is None else person.best.box,
            snapshot=person.best is not None,
        )


def moment_of(result: Result, tracks: Tracks) -> Moment:
    """When a result's frame was captured."""
    frame = result.frame
    return Moment(tracks.time_s, frame.captured_at, frame.source_time_s)
