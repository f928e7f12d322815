"""Options of a run, other than its sources, detector and sinks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.sources.frame import Frame


class Analyzer(Protocol):
    """Tracks and counts one source's people."""

    def analyze(self, frame: Frame, detections: Detections) -> tuple[Detections, Tracks]:
        """The detections to show of the source's next frame, and their tracks."""


@dataclass(frozen=True, slots=True)
class Blur:
    """No sink sees a frame before everything the detector gave is made unrecognizable."""

    most_shown: int | None = None
    """Hand on so many detections of a frame at most, where the detector gives more than that for hiding's sake."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """All off by default."""

    remember: int = 0
    """Keep the first so many images' detections in the summary, for a table."""
    limit: int | None = None
    """End after so many results."""
    max_age_ms: float | None = None
    """Drop a live source's frame, or its result, that is older than this, and count it."""
    stale_after_s: float = 5.0
    blur: Blur | None = None
    shown_conf: float | None = None
    """Hand on detections from this score up only, where the detector gives more than that for `blur`'s sake."""
    analyzer: Callable[[Frame], Analyzer] | None = None
    """Makes a source's analyzer from its first frame; every file has one of its own."""


DEFAULT_RUN_OPTIONS = RunOptions()
