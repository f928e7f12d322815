"""People who walk through an empty scene, as a detector and the analyzer see them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer
from mmpnet.runtime.events.presence import Happening, PresenceEvents
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame

SCENE_HW = (240, 320)
PERSON_HW = (80, 30)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAMES = ("background", "person", "dog")


@dataclass(frozen=True)
class Sight:
    """One detection: feet, score, class."""

    foot_xy: tuple[float, float]
    score: float = 0.8
    class_id: int = 1


def detections_of(sights: Iterable[Sight]) -> Detections:
    """The sights of one frame as detections, best first."""
    rows = sorted(sights, key=lambda sight: -sight.score)
    height, width = PERSON_HW
    boxes = [[x - width / 2, y - height, x + width / 2, y] for x, y in (sight.foot_xy for sight in rows)]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([sight.score for sight in rows], np.float32),
        np.array([sight.class_id for sight in rows], np.int64),
    )


@dataclass
class Scene:
    """A camera at `fps` whose frames go through the analyzer to the events of people."""

    analysis: Analysis
    fps: float = 10.0
    stream: int = 0

    def __post_init__(self) -> None:
        self._blank = np.zeros((*SCENE_HW, 3), np.uint8)
        first = Frame(self._blank, "door", "camera", self.fps, NOON, 0.0, stream=self.stream)
        self._analyzer = StreamAnalyzer(first, replace(self.analysis, class_names=NAMES))
        self.events = PresenceEvents("door", self.stream, NAMES)
        self.frames = 0
        self.last: Result | None = None

    @property
    def now_s(self) -> float:
        """The time of the last frame."""
        return (self.frames - 1) / self.fps

    def result(self, sights: Iterable[Sight]) -> Result:
        """The result of the next frame."""
        time_s = self.frames / self.fps
        self.frames += 1
        at = NOON + timedelta(seconds=time_s)
        frame = Frame(self._blank, "door", "camera", self.fps, at, time_s, index=self.frames - 1, stream=self.stream)
        shown, tracks = self._analyzer.analyze(frame, detections_of(sights))
        self.last = Result(frame, shown, shown, StageTimes(0, 0, 0), tracks)
        return self.last

    def see(self, frames: Iterable[Sequence[Sight]]) -> list[Happening]:
        """The events of these frames."""
        return [one for sights in frames for one in self.events.update(self.result(sights))]


def standing(foot_xy: tuple[float, float], frames: int, *, score: float = 0.8, class_id: int = 1) -> list[list[Sight]]:
    """Frames of somebody who stands."""
    return [[Sight(foot_xy, score, class_id)]] * frames


def walking(
    start_xy: tuple[float, float], end_xy: tuple[float, float], frames: int, *, class_id: int = 1
) -> list[list[Sight]]:
    """Frames of somebody who walks from one point to another."""
    steps = np.linspace(start_xy, end_xy, frames).tolist()
    return [[Sight((x, y), class_id=class_id)] for x, y in steps]


def nobody(frames: int) -> list[list[Sight]]:
    """Empty frames."""
    return [[]] * frames
