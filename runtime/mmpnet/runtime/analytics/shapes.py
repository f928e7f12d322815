"""Lines and zones, parsed from the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mmpnet.contract.text import well_formed

_COORDINATE = re.compile(r"(\d+(?:\.\d+)?)(%?)", re.ASCII)
_Shape = TypeVar("_Shape", "Line", "Zone")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A coordinate along one side of the frame, in px or in percent. Raises: ValueError for more than 100 %."""

    value: float
    percent: bool = False

    def __post_init__(self) -> None:
        if self.percent and self.value > 100:
            raise ValueError(f"found {self.value:g}%, expected 0% to 100%")

    def px(self, side_px: int) -> float:
        return self.value * side_px / 100 if self.percent else self.value


@dataclass(frozen=True, slots=True)
class Line:
    """A line from one point x, y to another. Crossing it from left to right counts as in, the other way as out.

    Left and right are those of a walk from the first point to the second, as seen on the image: people who walk down
    across `0,50%,100%,50%` come in. Raises: ValueError unless there are two points.
    """

    name: str
    points: tuple[tuple[Coordinate, Coordinate], ...]
    classes: frozenset[str] = frozenset()
    """Names of the classes to count; if empty, people, or every class of a model that knows no people."""

    def __post_init__(self) -> None:
        if len(self.points) != 2 or len(set(self.points)) != 2:
            raise ValueError(f"found {len(set(self.points))} different points, expected a line's two: x1,y1,x2,y2")
        _refuse_fractions(self.points)

    @property
    def is_in_px(self) -> bool:
        """Whether its place depends on the size of the frame."""
        return _in_px(self.points)


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon given by its corners x, y in order. Raises: ValueError for fewer than three, or if edges cross."""

    name: str
    points: tuple[tuple[Coordinate, Coordinate], ...]
    classes: frozenset[str] = frozenset()
    """As those of a line."""

    def __post_init__(self) -> None:
        if len(set(self.points)) < 3:
            found = len(set(self.points))
            raise ValueError(f"found {found} different points, expected a zone's three or more: x1,y1,x2,y2,x3,y3")
        _refuse_fractions(self.points)
        # Px and percent of one side can be compared only with a frame.
        if all(len({one.percent for one in side if one.value}) < 2 for side in zip(*self.points, strict=True)):
            refuse_crossing([(x.value, y.value) for x, y in self.points])

    @property
    def is_in_px(self) -> bool:
        """Whether its place depends on the size of the frame."""
        return _in_px(self.points)


def parse_line(text: str, *, default_name: str) -> Line:
    """Parse a line such as `door=0,50%,100%,50%`; `door=` is optional. Raises: ValueError with a one-line message."""
    return _parsed(text, Line, default_name)


def parse_zone(text: str, *, default_name: str) -> Zone:
    """Parse a zone such as `till=10%,10%,60%,10%,60%,90%`, as parse_line does."""
    return _parsed(text, Zone, default_name)


def _parsed(text: str, shape: type[_Shape], default_name: str) -> _Shape:
    name, equals, listed = text.rpartition("=")
    try:
        if equals and not name.strip():
            raise ValueError("found no name before '=', expected NAME=x1,y1,... or x1,y1,... alone")
        values = [_coordinate(part.strip()) for part in listed.split(",")]
        if len(values) % 2:
            raise ValueError(f"found {len(values)} numbers, expected pairs: x1,y1,x2,y2,...")
        return shape(well_formed(name.strip()) or default_name, tuple(zip(values[::2], values[1::2], strict=True)))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error


def refuse_crossing(points_xy: Sequence[tuple[float, float]]) -> None:
    """Raises: ValueError if two edges of a polygon cross, as they do if its corners are given in reading order."""
    count = len(points_xy)
    edges = [(points_xy[one], points_xy[(one + 1) % count]) for one in range(count)]
    for one, (start, end) in enumerate(edges):
        for other, (other_start, other_end) in enumerate(edges[:one]):
            apart = _turn(start, end, other_start) * _turn(start, end, other_end) < 0
            if apart and _turn(other_start, other_end, start) * _turn(other_start, other_end, end) < 0:
                raise ValueError(
                    f"the edge after corner {other + 1} crosses the edge after corner {one + 1}; give the corners in "
                    "order around the zone"
                )


def _turn(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float]) -> float:
    """Positive if the point lies on one side of the infinite line through start and end, negative on the other."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _in_px(points: Sequence[tuple[Coordinate, Coordinate]]) -> bool:
    return any(one.value and not one.percent for point in points for one in point)


def _refuse_fractions(points: Sequence[tuple[Coordinate, Coordinate]]) -> None:
    """Raises: ValueError if all coordinates are at most 1 px, as fractions of the frame are."""
    if all(not one.percent and one.value <= 1 for point in points for one in point):
        raise ValueError("all coordinates are at most 1 px; write fractions of the frame in percent, such as 50%")


def _coordinate(text: str) -> Coordinate:
    matched = _COORDINATE.fullmatch(text)
    if matched is None:
        raise ValueError(f"found {text!r}, expected px such as 320 or percent such as 50%")
    return Coordinate(float(matched[1]), percent=bool(matched[2]))
