"""The results of tracking and counting for one frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpnet.contract.arrays import IntArray, UInt8Array
from mmpnet.media.plates import Plates


@dataclass(frozen=True, slots=True)
class Tracks:
    """Track ids and counts of one frame; `draw` draws lines and zones onto a frame, in place, with their counts."""

    ids: IntArray
    """(N,), the id of each detection's track; -1 for a detection without a track."""
    counts: Mapping[str, Any] | None
    """Counts so far by the name of the line or zone; None in a run without lines and zones."""
    draw: Callable[[UInt8Array, Plates], None]
