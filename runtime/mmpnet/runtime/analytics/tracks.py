"""The results of tracking and counting for one frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpnet.contract.arrays import IntArray, UInt8Array


@dataclass(frozen=True, slots=True)
class Tracks:
    """Track ids and counts of one frame; `draw` draws lines and zones with their counts onto a frame, in place."""

    ids: IntArray
    """(N,), the id of each detection's track; -1 for a detection without a track."""
    counts: Mapping[str, Any] | None
    """Counts so far by the name of the line or zone; None in a run without lines and zones."""
    draw: Callable[[UInt8Array], None]
