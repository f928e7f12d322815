"""Count people who cross a line or are in a zone, by the position of their feet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.shapes import Line, Zone, refuse_crossing
from mmpnet.runtime.analytics.tracker import NO_TRACK
from mmpnet.runtime.analytics.tracks import Direction, Passage

CLEAR = 0.1
"""Feet count as clear of a line or edge if they are at least this fraction of the box's height away (about 17 cm).

The lower edge of a standing person's box moves by a few hundredths of its height from frame to frame.
"""
FORGET_AFTER_FRAMES = 1000
"""A track that is not seen for this many frames is removed, so that memory is bounded in runs of months."""

PERSON = "person"
LINE_KEYS = ("in_count", "out_count")
ZONE_KEYS = ("count", *LINE_KEYS)

Points: TypeAlias = NDArray[np.float64]
Tally: TypeAlias = dict[str, int]


@dataclass(slots=True)
class ClassTallies:
    """The counts of one line or zone by class: those that it counts, or every class if `names` is empty."""

    keys: tuple[str, ...]
    """The counts that there are, such as `in_count`."""
    names: dict[int, str] = field(default_factory=dict)
    tallies: dict[int, Tally] = field(default_factory=dict)

    def counts(self, class_id: int) -> bool:
        """Whether this class is counted."""
        return not self.names or class_id in self.names

    def add(self, key: str, class_id: int) -> None:
        self.tallies.setdefault(class_id, dict.fromkeys(self.keys, 0))[key] += 1

    def clear(self, key: str) -> None:
        """Set one count of every class to 0."""
        for tally in self.tallies.values():
            tally[key] = 0

    def total(self, key: str) -> int:
        """The sum over the classes."""
        return sum(tally[key] for tally in self.tallies.values())

    def as_dict(self) -> dict[str, Any]:
        """The totals as JSON values, and with several classes also the counts of each under `classes`."""
        totals: dict[str, Any] = {key: self.total(key) for key in self.keys}
        if len(self.names) > 1:
            none = dict.fromkeys(self.keys, 0)
            totals["classes"] = {name: dict(self.tallies.get(one, none)) for one, name in self.names.items()}
        return totals


@dataclass(slots=True)
class LineCount:
    """How many tracked people crossed a line in each direction; points_px (2, 2)."""

    name: str
    points_px: Points
    tallies: ClassTallies = field(default_factory=lambda: ClassTallies(LINE_KEYS))
    shape: Literal["line"] = "line"

    @property
    def in_count(self) -> int:
        return self.tallies.total("in_count")

    @property
    def out_count(self) -> int:
        return self.tallies.total("out_count")

    def distance_px(self, feet_xy: Points) -> Points:
        """Signed distances of feet (N, 2) from the infinite line, positive on its right -> (N,)."""
        along, to_feet = self.points_px[1] - self.points_px[0], feet_xy - self.points_px[0]
        distance: Points = (along[0] * to_feet[:, 1] - along[1] * to_feet[:, 0]) / np.hypot(*along)
        return distance

    def passage(self, step_xy: Points, step_px: tuple[float, float]) -> int:
        """1 for a step (2, 2) to the right between the line's ends, -1 to the left; step_px: distances of its ends."""
        before, now = step_px
        if (before > 0) == (now > 0):
            return 0
        meeting_xy = step_xy[0] + before / (before - now) * (step_xy[1] - step_xy[0])
        along = self.points_px[1] - self.points_px[0]
        if not 0 <= (meeting_xy - self.points_px[0]) @ along <= along @ along:
            return 0
        return 1 if now > 0 else -1


@dataclass(slots=True)
class ZoneCount:
    """How many people are in a zone now, and how many tracked people entered and left it; points_px (K, 2).

    An edge on the frame's border is ignored, as nobody can be seen to cross it.
    """

    name: str
    points_px: Points
    frame_hw: tuple[int, int]
    tallies: ClassTallies = field(default_factory=lambda: ClassTallies(ZONE_KEYS))
    shape: Literal["zone"] = "zone"

    @property
    def count(self) -> int:
        return self.tallies.total("count")

    @property
    def in_count(self) -> int:
        return self.tallies.total("in_count")

    @property
    def out_count(self) -> int:
        return self.tallies.total("out_count")

    def distance_px(self, feet_xy: Points) -> Points:
        """Distances of feet (N, 2) to the nearest edge, negative outside the zone -> (N,); inf if no edge counts."""
        start, end = self.points_px, np.roll(self.points_px, -1, axis=0)
        edge, to_feet = end - start, feet_xy[:, None] - start  # (K, 2), (N, K, 2)
        along = np.clip((to_feet * edge).sum(axis=2) / np.maximum((edge**2).sum(axis=1), 1e-9), 0, 1)  # (N, K)
        distance = np.linalg.norm(to_feet - along[:, :, None] * edge, axis=2)
        border = ((start == end) & ((start == 0) | (start == self.frame_hw[::-1]))).any(axis=1)
        nearest = distance[:, ~border].min(axis=1, initial=np.inf)
        # Even-odd rule: count the edges to the right of the feet.
        spans = (start[:, 1] > feet_xy[:, 1:]) != (end[:, 1] > feet_xy[:, 1:])
        left_of_edge = (edge[:, 0] * to_feet[:, :, 1] > edge[:, 1] * to_feet[:, :, 0]) == (edge[:, 1] > 0)
        inside = (spans & left_of_edge).sum(axis=1) % 2 == 1
        signed: Points = np.where(inside, nearest, -nearest)
        return signed

    def passage(self, _step_xy: Points, step_px: tuple[float, float]) -> int:
        """1 for a step into the zone, -1 for one out of it; step_px: signed distances of its ends."""
        return int(step_px[1] > 0) - int(step_px[0] > 0)


@dataclass(slots=True)
class _Stand:
    """State of a track relative to one line or zone.

    It holds the last distance, the side on which the feet were last clear (1 in, -1 out, 0 not clear yet), and the
    number of passages since then, inwards minus outwards.
    """

    distance_px: float
    side: int = 0
    passages: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """One tracked detection of a frame: feet (2,), and their signed distance from each line and zone."""

    track_id: int
    class_id: int
    foot_xy: Points
    distances_px: list[float]
    clear_px: float


@dataclass(slots=True)
class _Track:
    """A person's feet (2,) when last seen, and their state at each line and zone."""

    seen_in_frame: int
    foot_xy: Points
    stands: list[_Stand]
    pending: list[tuple[LineCount | ZoneCount, Direction]] = field(default_factory=list)
    """Passages that are counted when the track is confirmed."""


class PeopleCounter:
    """Counts people at the lines and zones of one video or camera, by their feet: the center of each box's lower edge.

    A track has crossed a line when its feet are clear of it on the side opposite to where they were last clear, and
    their path crossed between the line's ends in that direction. So jitter on a line does not count, nor does a
    walk around its end, nor a track that starts or ends before it is clear. Zones follow the same rule.

    `class_names`: the model's, by class id, to find the classes that each line and zone counts. Without them, every
    class is counted.

    Raises: MmpnetError if two lines or zones have one name, or one is outside the frame (height, width) or is empty.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        *,
        frame_hw: tuple[int, int],
        class_names: Sequence[str] = (),
    ) -> None:
        names = [line.name for line in lines] + [zone.name for zone in zones]
        for name in names:
            if names.count(name) > 1:
                raise MmpnetError(f"two lines or zones have the name {name!r}; give each its own name")
        self.lines = [
            LineCount(line.name, _points_px(line, frame_hw), _tallies(line, class_names, LINE_KEYS)) for line in lines
        ]
        self.zones = [
            ZoneCount(zone.name, _points_px(zone, frame_hw), frame_hw, _tallies(zone, class_names, ZONE_KEYS))
            for zone in zones
        ]
        self.frame_hw = frame_hw
        self._frames = 0
        self._tracks: dict[int, _Track] = {}

    def update(
        self, detections: Detections, track_ids: IntArray, confirmed: BoolArray | None = None
    ) -> tuple[tuple[Passage, ...], tuple[tuple[str, ...], ...]]:
        """Count one frame: detections in px of the frame, and the track id of each (N,), NO_TRACK if it has none.

        confirmed (N,): tracks that are not are followed, and counted as soon as they are. None confirms all.

        Returns what was counted, and the names of the zones that each detection is in (N tuples).

        Raises: ValueError if the number of ids differs from the number of detections.
        """
        if track_ids.shape != detections.score.shape:
            raise ValueError(f"track_ids must be ({len(detections)},), got {track_ids.shape}")
        self._frames += 1
        feet_xy = _feet_xy(detections.xyxy, self.frame_hw)
        clear_px = CLEAR * (detections.xyxy[:, 3] - detections.xyxy[:, 1])
        distances_px = [place.distance_px(feet_xy) for place in self._places()]  # each (N,)
        class_ids = detections.class_id.tolist()
        zones = self._count_zones(distances_px[len(self.lines) :], class_ids)
        passages: list[Passage] = []
        for row in np.flatnonzero(track_ids != NO_TRACK).tolist():
            to_places_px = [float(distance_px[row]) for distance_px in distances_px]
            step = _Step(int(track_ids[row]), class_ids[row], feet_xy[row], to_places_px, float(clear_px[row]))
            pending = self._follow(step)
            if confirmed is None or confirmed[row]:
                passages += [self._counted(place, step, direction) for place, direction in pending]
                pending.clear()
        self._forget()
        return tuple(passages), zones

    def take_counts_from(self, before: "PeopleCounter") -> None:
        """Copy the counts of the same lines and zones after the frame size has changed."""
        for place, earlier in zip(self._places(), before._places(), strict=True):
            place.tallies = earlier.tallies

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The counts so far, by the name of the line or zone, as JSON values."""
        return {place.name: place.tallies.as_dict() for place in self._places()}

    def _count_zones(self, distances_px: Sequence[Points], class_ids: Sequence[int]) -> tuple[tuple[str, ...], ...]:
        """Count who is in each zone now; returns the names of the zones of each detection."""
        zones: list[list[str]] = [[] for _ in class_ids]
        for zone, distance_px in zip(self.zones, distances_px, strict=True):
            zone.tallies.clear("count")
            for row in np.flatnonzero(distance_px > 0).tolist():
                if zone.tallies.counts(class_ids[row]):
                    zone.tallies.add("count", class_ids[row])
                    zones[row].append(zone.name)
        return tuple(map(tuple, zones))

    def _places(self) -> list[LineCount | ZoneCount]:
        return [*self.lines, *self.zones]

    def _follow(self, step: "_Step") -> list[tuple[LineCount | ZoneCount, Direction]]:
        """Follow a track by one frame; returns its passages that were not counted yet, which the caller empties."""
        # Removed and added again, so that tracks are sorted by the time they were last seen.
        track = self._tracks.pop(step.track_id, None)
        if track is None:
            track = _Track(self._frames, step.foot_xy, [_Stand(distance_px) for distance_px in step.distances_px])
        self._tracks[step.track_id] = track
        step_xy = np.stack([track.foot_xy, step.foot_xy])
        for place, stand, distance_px in zip(self._places(), track.stands, step.distances_px, strict=True):
            stand.passages += place.passage(step_xy, (stand.distance_px, distance_px))
            stand.distance_px = distance_px
            if abs(distance_px) >= step.clear_px:
                side = 1 if distance_px > 0 else -1
                if stand.side == -side and stand.passages * side > 0 and place.tallies.counts(step.class_id):
                    track.pending.append((place, "in" if side == 1 else "out"))
                stand.side, stand.passages = side, 0
        track.seen_in_frame, track.foot_xy = self._frames, step.foot_xy
        return track.pending

    def _counted(self, place: LineCount | ZoneCount, step: "_Step", direction: Direction) -> Passage:
        place.tallies.add(f"{direction}_count", step.class_id)
        return Passage(step.track_id, place.shape, place.name, direction)

    def _forget(self) -> None:
        for track_id in list(self._tracks):
            if self._tracks[track_id].seen_in_frame >= self._frames - FORGET_AFTER_FRAMES:
                break
            del self._tracks[track_id]


def inside_any(masks: Sequence[Zone], xyxy: FloatArray, frame_hw: tuple[int, int]) -> BoolArray:
    """Which boxes (N, 4) in px of the frame have their feet in one of the polygons -> (N,)."""
    feet_xy, inside = _feet_xy(xyxy, frame_hw), np.zeros(len(xyxy), np.bool_)
    for mask in masks:
        inside |= ZoneCount(mask.name, _points_px(mask, frame_hw), frame_hw).distance_px(feet_xy) > 0
    return inside


def _feet_xy(xyxy: FloatArray, frame_hw: tuple[int, int]) -> Points:
    """Feet of boxes (N, 4) -> (N, 2); feet that the frame cuts off are placed half a pixel inside it."""
    height_px, width_px = frame_hw
    feet = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]], axis=1).astype(np.float64)
    return np.clip(feet, 0.5, (width_px - 0.5, height_px - 0.5))


def check_classes(shapes: Sequence[Line | Zone], class_names: Sequence[str]) -> None:
    """Raises: MmpnetError for a line or zone that counts a class that the model does not know."""
    for shape in shapes:
        for name in sorted(shape.classes - set(class_names)):
            known = ", ".join(class_names[1:]) or "none"
            raise MmpnetError(
                f"{shape.name}: counts the class {name!r}, but the model knows {known}; choose one of these"
            )


def _tallies(shape: Line | Zone, class_names: Sequence[str], keys: tuple[str, ...]) -> ClassTallies:
    wanted = shape.classes or ({PERSON} if PERSON in class_names else set())
    return ClassTallies(keys, {one: name for one, name in enumerate(class_names) if name in wanted})


def _points_px(shape: Line | Zone, frame_hw: tuple[int, int]) -> Points:
    """Points of a shape in px of the frame -> (K, 2). Raises: MmpnetError as PeopleCounter."""
    height_px, width_px = frame_hw
    points = np.array([(x.px(width_px), y.px(height_px)) for x, y in shape.points])
    for x, y in points.tolist():
        if x > width_px or y > height_px:
            raise MmpnetError(
                f"{shape.name}: the point {x:g},{y:g} is outside the frame of {width_px}x{height_px} px; "
                "give points inside it, or in percent"
            )
    try:
        if isinstance(shape, Zone):
            refuse_crossing([(x, y) for x, y in points.tolist()])
    except ValueError as error:
        raise MmpnetError(f"{shape.name}: {error}") from error
    if np.linalg.matrix_rank(points - points[0]) < (1 if isinstance(shape, Line) else 2):
        expected = "a line with two ends" if isinstance(shape, Line) else "a zone with an area"
        raise MmpnetError(f"{shape.name}: its points coincide or are on one line in the frame; expected {expected}")
    return points
