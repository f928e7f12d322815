"""Track people in one stream and count them at lines and in zones."""

from collections.abc import Callable, Sequence

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import SourceError
from mmpnet.media.plates import Plates
from mmpnet.runtime.analytics.counting import PeopleCounter
from mmpnet.runtime.analytics.overlay import draw_counts
from mmpnet.runtime.analytics.shapes import Line, Zone
from mmpnet.runtime.analytics.tracker import NO_TRACK, Tracker
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.sources.frame import Frame


class StreamAnalyzer:
    """Tracker and counter of one source. It takes detections from score LOW_CONF, and returns those from `conf` and
    those below it that continue a track. It uses only the `max_det` best detections of each frame.

    Raises: SourceError for an image, MissingExtraError without the [track] extra, MmpnetError for a line or zone that
    does not fit the frame.
    """

    def __init__(
        self,
        frame: Frame,
        *,
        conf: float,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        max_det: int | None = None,
    ) -> None:
        if frame.kind == "image":
            raise SourceError(f"{frame.source}: is an image; tracking people needs a camera or a video")
        self._conf = conf
        self._max_det = max_det
        self._tracker = Tracker(frame_rate=frame.fps, conf=conf)
        self._lines, self._zones = lines, zones
        self._counter = self._counter_for(frame)

    def analyze(self, frame: Frame, detections: Detections) -> tuple[Detections, Tracks]:
        """The detections of a frame to show, and their tracks."""
        detections = detections[: self._max_det]
        ids = self._tracker.update(detections, time_s=frame.clock_s)
        kept = (detections.score >= self._conf) | (ids != NO_TRACK)
        shown, ids = detections[kept], ids[kept]
        if self._counter is None:
            return shown, Tracks(ids, None, self.draw)
        if self._counter.frame_hw != frame.pixels_bgr.shape[:2]:
            resized = self._counter_for(frame)
            assert resized is not None
            resized.take_counts_from(self._counter)
            self._counter = resized
        self._counter.update(shown, ids)
        return shown, Tracks(ids, self._counter.as_dict(), self.draw)

    def _counter_for(self, frame: Frame) -> PeopleCounter | None:
        height, width = frame.pixels_bgr.shape[:2]
        return PeopleCounter(self._lines, self._zones, frame_hw=(height, width)) if self._lines or self._zones else None

    def draw(self, frame_bgr: UInt8Array, plates: Plates) -> None:
        """Draw lines and zones, in place, and place their counts."""
        if self._counter is not None:
            draw_counts(frame_bgr, self._counter, plates)


def analyzer_factory(
    *, conf: float, lines: Sequence[Line], zones: Sequence[Zone], max_det: int | None = None
) -> Callable[[Frame], StreamAnalyzer]:
    """Returns a function that makes the analyzer of a source from its first frame."""
    return lambda frame: StreamAnalyzer(frame, conf=conf, lines=lines, zones=zones, max_det=max_det)
