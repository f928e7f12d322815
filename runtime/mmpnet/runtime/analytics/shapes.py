"""Lines and zones, parsed from the command line."""

import re
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


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon given by its corners x, y in order. Raises: ValueError for fewer than three."""

    name: str
    points: tuple[tuple[Coordinate, Coordinate], ...]
    classes: frozenset[str] = frozenset()
    """As those of a line."""

    def __post_init__(self) -> None:
        if len(set(self.points)) < 3:
            found = len(set(self.points))
            raise ValueError(f"found {found} different points, expected a zone's three or more: x1,y1,x2,y2,x3,y3")


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


def _coordinate(text: str) -> Coordinate:
    matched = _COORDINATE.fullmatch(text)
    if matched is None:
        raise ValueError(f"found {text!r}, expected px such as 320 or percent such as 50%")
    return Coordinate(float(matched[1]), percent=bool(matched[2]))
