"""The results of tracking and counting for one frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mmpnet.contract.arrays import BoolArray, IntArray, UInt8Array
from mmpnet.media.plates import Plates

Direction: TypeAlias = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A track that has crossed a line, or the edge of a zone, in this frame."""

    track_id: int
    shape: Literal["line", "zone"]
    name: str
    """Name of the line or zone."""
    direction: Direction


@dataclass(frozen=True, slots=True)
class Tracks:
    """Track ids and counts of one frame; `draw` draws lines and zones onto a frame, in place, with their counts."""

    ids: IntArray
    """(N,), the id of each detection's track; -1 for a detection without a track."""
    counts: Mapping[str, Any] | None
    """Counts so far by the name of the line or zone; None in a run without lines and zones."""
    draw: Callable[[UInt8Array, Plates], None]
    time_s: float = 0.0
    """Time of the frame as in Frame.clock_s, but on a clock that only increases, also when a video is repeated."""
    confirmed: BoolArray | None = None
    """(N,), whether each detection's track is certain enough to count; None if that was not decided."""
    passages: tuple[Passage, ...] = ()
    """What was counted in this frame."""
    zones: tuple[tuple[str, ...], ...] = ()
    """Names of the zones that each detection is in, in the order of `ids`; empty in a run without lines and zones."""
