"""Count people who cross a line or are in a zone, by the position of their feet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.shapes import Line, Zone
from mmpnet.runtime.analytics.tracker import NO_TRACK

CLEAR = 0.1
"""Feet count as clear of a line or edge if they are at least this fraction of the box's height away (about 17 cm).

The lower edge of a standing person's box moves by a few hundredths of its height from frame to frame.
"""
FORGET_AFTER_FRAMES = 1000
"""A track that is not seen for this many frames is removed, so that memory is bounded in runs of months."""

Points: TypeAlias = NDArray[np.float64]


@dataclass(slots=True)
class LineCount:
    """How many tracked people crossed a line in each direction; points_px (2, 2)."""

    name: str
    points_px: Points
    in_count: int = 0
    out_count: int = 0

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

    def as_dict(self) -> dict[str, int]:
        return {"in_count": self.in_count, "out_count": self.out_count}


@dataclass(slots=True)
class ZoneCount:
    """How many people are in a zone now, and how many tracked people entered and left it; points_px (K, 2).

    An edge on the frame's border is ignored, as nobody can be seen to cross it.
    """

    name: str
    points_px: Points
    frame_hw: tuple[int, int]
    count: int = 0
    in_count: int = 0
    out_count: int = 0

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

    def as_dict(self) -> dict[str, int]:
        return {"count": self.count, "in_count": self.in_count, "out_count": self.out_count}


@dataclass(slots=True)
class _Stand:
    """State of a track relative to one line or zone.

    It holds the last distance, the side on which the feet were last clear (1 in, -1 out, 0 not clear yet), and the
    number of passages since then, inwards minus outwards.
    """

    distance_px: float
    side: int = 0
    passages: int = 0


@dataclass(slots=True)
class _Track:
    """A person's feet (2,) when last seen, and their state at each line and zone."""

    seen_in_frame: int
    foot_xy: Points
    stands: list[_Stand]


class PeopleCounter:
    """Counts people at the lines and zones of one video or camera, by their feet: the center of each box's lower edge.

    A track has crossed a line when its feet are clear of it on the side opposite to where they were last clear, and
    their path crossed between the line's ends in that direction. So jitter on a line does not count, nor does a
    walk around its end, nor a track that starts or ends before it is clear. Zones follow the same rule.

    Raises: MmpnetError if two lines or zones have one name, or one is outside the frame (height, width) or is empty.
    """

    def __init__(self, lines: Sequence[Line], zones: Sequence[Zone], *, frame_hw: tuple[int, int]) -> None:
        names = [line.name for line in lines] + [zone.name for zone in zones]
        for name in names:
            if names.count(name) > 1:
                raise MmpnetError(f"two lines or zones have the name {name!r}; give each its own name")
        self.lines = [LineCount(line.name, _points_px(line, frame_hw)) for line in lines]
        self.zones = [ZoneCount(zone.name, _points_px(zone, frame_hw), frame_hw) for zone in zones]
        self.frame_hw = frame_hw
        self._frames = 0
        self._tracks: dict[int, _Track] = {}

    def update(self, detections: Detections, track_ids: IntArray) -> None:
        """Count one frame: detections in px of the frame, and the track id of each (N,), NO_TRACK if it has none.

        Raises: ValueError if the number of ids differs from the number of detections.
        """
        if track_ids.shape != detections.score.shape:
            raise ValueError(f"track_ids must be ({len(detections)},), got {track_ids.shape}")
        self._frames += 1
        feet_xy = self._feet_xy(detections.xyxy)
        clear_px = CLEAR * (detections.xyxy[:, 3] - detections.xyxy[:, 1])
        distances_px = [place.distance_px(feet_xy) for place in self._places()]  # each (N,)
        for zone, distance_px in zip(self.zones, distances_px[len(self.lines) :], strict=True):
            zone.count = int((distance_px > 0).sum())
        for row in np.flatnonzero(track_ids != NO_TRACK).tolist():
            to_places_px = [float(distance_px[row]) for distance_px in distances_px]
            self._follow(int(track_ids[row]), feet_xy[row], to_places_px, clear_px=float(clear_px[row]))
        self._forget()

    def take_counts_from(self, before: "PeopleCounter") -> None:
        """Copy the counts of the same lines and zones after the frame size has changed."""
        for place, earlier in zip(self._places(), before._places(), strict=True):
            place.in_count, place.out_count = earlier.in_count, earlier.out_count

    def as_dict(self) -> dict[str, dict[str, int]]:
        """The counts so far, by the name of the line or zone, as JSON values."""
        return {place.name: place.as_dict() for place in self._places()}

    def _places(self) -> list[LineCount | ZoneCount]:
        return [*self.lines, *self.zones]

    def _feet_xy(self, xyxy: FloatArray) -> Points:
        """Feet of boxes (N, 4) -> (N, 2); feet that the frame cuts off are placed half a pixel inside it."""
        height_px, width_px = self.frame_hw
        feet = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]], axis=1).astype(np.float64)
        return np.clip(feet, 0.5, (width_px - 0.5, height_px - 0.5))

    def _follow(self, track_id: int, foot_xy: Points, distances_px: list[float], *, clear_px: float) -> None:
        # Removed and added again, so that tracks are sorted by the time they were last seen.
        track = self._tracks.pop(track_id, None)
        if track is None:
            track = _Track(self._frames, foot_xy, [_Stand(distance_px) for distance_px in distances_px])
        self._tracks[track_id] = track
        step_xy = np.stack([track.foot_xy, foot_xy])
        for place, stand, distance_px in zip(self._places(), track.stands, distances_px, strict=True):
            stand.passages += place.passage(step_xy, (stand.distance_px, distance_px))
            stand.distance_px = distance_px
            if abs(distance_px) >= clear_px:
                side = 1 if distance_px > 0 else -1
                crossed = stand.side == -side and stand.passages * side > 0
                place.in_count += crossed and side == 1
                place.out_count += crossed and side == -1
                stand.side, stand.passages = side, 0
        track.seen_in_frame, track.foot_xy = self._frames, foot_xy

    def _forget(self) -> None:
        for track_id in list(self._tracks):
            if self._tracks[track_id].seen_in_frame >= self._frames - FORGET_AFTER_FRAMES:
                break
            del self._tracks[track_id]


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
    if np.linalg.matrix_rank(points - points[0]) < (1 if isinstance(shape, Line) else 2):
        expected = "a line with two ends" if isinstance(shape, Line) else "a zone with an area"
        raise MmpnetError(f"{shape.name}: its points coincide or are on one line in the frame; expected {expected}")
    return points
