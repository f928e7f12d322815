"""Options of a run, except its sources, detector and sinks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.sources.frame import Frame


class Analyzer(Protocol):
    """Tracks and counts the people of one source."""

    def analyze(self, frame: Frame, detections: Detections) -> tuple[Detections, Tracks]:
        """The detections of the source's next frame to show, and their tracks."""


@dataclass(frozen=True, slots=True)
class Blur:
    """Pixelates everything that the detector finds before any sink gets the frame."""

    most_shown: int | None = None
    """Largest number of detections per frame for the sinks, if the detector finds more for pixelation."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """All options are off by default."""

    remember: int = 0
    """Number of images whose detections the summary keeps for a table."""
    limit: int | None = None
    """Stop after this number of results."""
    max_age_ms: float | None = None
    """Drop and count a live source's frame, or its result, that is older than this."""
    stale_after_s: float = 5.0
    blur: Blur | None = None
    shown_conf: float | None = None
    """Lowest score of detections for the sinks, if the detector finds more for pixelation."""
    analyzer: Callable[[Frame], Analyzer] | None = None
    """Makes a source's analyzer from its first frame; every file gets a new one."""


DEFAULT_RUN_OPTIONS = RunOptions()
