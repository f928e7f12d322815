"""Track people in one stream and count them at lines and in zones."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmpnet.contract.arrays import BoolArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import SourceError
from mmpnet.media.plates import Plates
from mmpnet.runtime.analytics.confirmation import TrackConfirmer
from mmpnet.runtime.analytics.counting import PeopleCounter, check_classes, inside_any
from mmpnet.runtime.analytics.overlay import draw_counts
from mmpnet.runtime.analytics.reach import reach_notes
from mmpnet.runtime.analytics.rejoin import TrackRejoiner
from mmpnet.runtime.analytics.shapes import Line, Zone
from mmpnet.runtime.analytics.tracker import NO_TRACK, Tracker
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.sources.frame import Frame


@dataclass(frozen=True, slots=True)
class Analysis:
    """What to track and to count in one source.

    `conf`: lowest score that starts a track. `max_det`: only this number of best detections is used of each frame.
    `class_names`: the model's, by class id; without them, lines and zones count every class. `classes`: only these are
    detections at all; all if it is empty. `masks`: what has its feet in one of them is not a detection.

    Raises: MmpnetError for a class that the model does not know.
    """

    conf: float
    lines: Sequence[Line] = ()
    zones: Sequence[Zone] = ()
    max_det: int | None = None
    class_names: Sequence[str] = ()
    classes: frozenset[str] = frozenset()
    masks: Sequence[Zone] = ()

    def __post_init__(self) -> None:
        if self.class_names:
            check_classes([*self.lines, *self.zones], self.class_names)


class StreamAnalyzer:
    """Tracker and counter of one source. It takes detections from score LOW_CONF, and returns those from `conf` and
    those below it that continue a track.

    Raises: SourceError for an image, MissingExtraError without the [track] extra, MmpnetError for a line or zone that
    does not fit the frame.
    """

    def __init__(self, frame: Frame, analysis: Analysis) -> None:
        if frame.kind == "image":
            raise SourceError(f"{frame.source}: is an image; tracking people needs a camera or a video")
        self._analysis = analysis
        self._tracker = Tracker(frame_rate=frame.fps, conf=analysis.conf)
        self._rejoiner = TrackRejoiner()
        self._confirmer = TrackConfirmer(analysis.conf)
        self._counter = self._counter_for(frame)
        for note in reach_notes(self._counter) if self._counter is not None else ():
            logging.getLogger(__name__).warning("%s: %s", frame.source, note)
        self._warned = False

    def analyze(self, frame: Frame, detections: Detections) -> tuple[Detections, Tracks]:
        """The detections of a frame to show, and their tracks."""
        frame_hw = frame.pixels_bgr.shape[0], frame.pixels_bgr.shape[1]
        detections = detections[: self._analysis.max_det]
        detections = detections[self._wanted(detections, frame_hw)]
        ids = self._tracker.update(detections, time_s=frame.clock_s)
        now_s = self._tracker.last_s
        ids = self._rejoiner.update(ids, detections, now_s, frame_hw=frame_hw)
        kept = (detections.score >= self._analysis.conf) | (ids != NO_TRACK)
        shown, ids = detections[kept], ids[kept]
        confirmed = self._confirmer.update(ids, shown.score, now_s)
        if self._counter is None:
            return shown, Tracks(ids, None, self.draw, now_s, confirmed)
        if self._counter.frame_hw != frame_hw:
            self._warn_of_new_size(frame)
            resized = self._counter_for(frame)
            assert resized is not None
            resized.take_counts_from(self._counter)
            self._counter = resized
        passages, zones = self._counter.update(shown, ids, confirmed)
        return shown, Tracks(ids, self._counter.as_dict(), self.draw, now_s, confirmed, passages, zones)

    def _warn_of_new_size(self, frame: Frame) -> None:
        shapes: list[Line | Zone] = [*self._analysis.lines, *self._analysis.zones]
        in_px = [shape.name for shape in shapes if shape.is_in_px]
        if in_px and not self._warned:
            self._warned = True
            height, width = frame.pixels_bgr.shape[:2]
            logging.getLogger(__name__).warning(
                "%s: its frames are now %dx%d px, and %s stays at its px; give lines and zones in percent",
                frame.source,
                width,
                height,
                ", ".join(in_px),
            )

    def _wanted(self, detections: Detections, frame_hw: tuple[int, int]) -> BoolArray:
        """Which detections (N,) are of the classes to find, and outside the masks."""
        wanted = np.ones(len(detections), np.bool_)
        if self._analysis.classes:
            ids = [one for one, name in enumerate(self._analysis.class_names) if name in self._analysis.classes]
            wanted &= np.isin(detections.class_id, ids)
        if self._analysis.masks:
            wanted &= ~inside_any(self._analysis.masks, detections.xyxy, frame_hw)
        return wanted

    def _counter_for(self, frame: Frame) -> PeopleCounter | None:
        chosen = self._analysis
        if not chosen.lines and not chosen.zones:
            return None
        height, width = frame.pixels_bgr.shape[:2]
        return PeopleCounter(chosen.lines, chosen.zones, frame_hw=(height, width), class_names=chosen.class_names)

    def draw(self, frame_bgr: UInt8Array, plates: Plates) -> None:
        """Draw lines and zones, in place, and place their counts."""
        if self._counter is not None:
            draw_counts(frame_bgr, self._counter, plates)


def analyzer_factory(analyses: Sequence[Analysis]) -> Callable[[Frame], StreamAnalyzer]:
    """Returns a function that makes the analyzer of a source from its first frame.

    analyses: one for each source of the run, in the order of Frame.stream.
    """
    return lambda frame: StreamAnalyzer(frame, analyses[frame.stream])
