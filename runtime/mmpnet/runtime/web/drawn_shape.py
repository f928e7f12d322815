"""Lines and zones that are drawn, changed and removed on the page."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

MOST_POINTS = 32


class DrawnShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its points are x, y in percent of the frame. Raises: ValueError, within msgspec, for what is no line or zone."""

    camera: str
    kind: Literal["line", "zone"]
    name: str
    points: tuple[tuple[float, float], ...]
    replaces: str = ""
    """Name of the line or zone of this camera that it takes the place of."""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 60 or set(self.name) & set("=/\n\r"):
            raise ValueError(f"name is {self.name[:70]!r}; expected 1 to 60 characters without = and /")
        if len(self.points) > MOST_POINTS:
            raise ValueError(f"{len(self.points)} points; expected at most {MOST_POINTS}")
        if not all(0 <= value <= 100 for point in self.points for value in point):
            raise ValueError("a point is outside the image; expected 0 to 100 percent")
        count = len(set(self.points))
        if (self.kind == "line" and (count != 2 or len(self.points) != 2)) or (self.kind == "zone" and count < 3):
            raise ValueError(f"{count} different points; expected 2 for a line, 3 or more for a zone")

    @property
    def coordinates(self) -> tuple[str, ...]:
        """x1, y1, x2, y2, ... as the command line and the settings take them."""
        return tuple(f"{value:.1f}%" for point in self.points for value in point)

    @property
    def option(self) -> str:
        """The option of mmp-run for it, without the camera: --line or --zone."""
        return f"--{self.kind} '{self.name}={','.join(self.coordinates)}'"


class KnownShape(msgspec.Struct, frozen=True):
    """A line or zone in the settings. Its points are x, y as the settings have them, in percent (`60%`) or px."""

    camera: str
    kind: Literal["line", "zone"]
    name: str
    points: tuple[tuple[str, str], ...]


class NamedShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which line or zone is to be removed."""

    camera: str
    name: str


class ShapeSettings(Protocol):
    """The settings that the page changes. Each method raises MmpnetError if they cannot be read or written."""

    def shapes(self) -> Sequence[KnownShape]:
        """The lines and zones of all cameras, as the settings are now."""

    def save(self, shape: DrawnShape) -> str:
        """Add a shape or replace one; returns one sentence about what happens next."""

    def remove(self, shape: NamedShape) -> str:
        """Remove a shape; returns one sentence about what happens next."""
