"""The paths of tracked objects over the last seconds, drawn behind them."""

import itertools
from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.palette import color_of
from mmpnet.media.plates import Color, drawing_unit
from mmpnet.runtime.pipeline.results import Result

LENGTH_S = 3.0
"""How far back a trail reaches."""
_MOST_POINTS = 128
_PIECES = 6
"""A trail is drawn in this many pieces, from thin and old to thick and new."""


@dataclass(slots=True)
class _Trail:
    bgr: Color
    points: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=_MOST_POINTS))
    """Time in s, and the feet x, y in px of the frame: the center of the box's lower edge."""


class Trails:
    """The trails of one source; memory is bounded, as a trail ends LENGTH_S after its object was last seen."""

    def __init__(self) -> None:
        self._of: tuple[str, tuple[int, ...]] | None = None
        self._trails: dict[int, _Trail] = {}
        self._now_s = 0.0

    def follow(self, result: Result) -> None:
        """Add the places of the tracks in this result, which must have tracks."""
        frame, tracks = result.frame, result.tracks
        assert tracks is not None
        if self._of != (frame.source, frame.pixels_bgr.shape):
            self._of = frame.source, frame.pixels_bgr.shape
            self._trails.clear()
        self._now_s = frame.captured_s if frame.kind == "camera" else frame.index / max(frame.fps, 1e-3)
        found = result.detections
        for track_id, class_id, xyxy in zip(
            tracks.ids.tolist(), found.class_id.tolist(), found.xyxy.tolist(), strict=True
        ):
            if track_id >= 0:
                trail = self._trails.setdefault(track_id, _Trail(color_of(class_id, track_id)))
                trail.points.append((self._now_s, (xyxy[0] + xyxy[2]) / 2, xyxy[3]))
        for track_id, trail in list(self._trails.items()):
            while trail.points and self._now_s - trail.points[0][0] > LENGTH_S:
                trail.points.popleft()
            if not trail.points:
                del self._trails[track_id]

    def draw(self, frame_bgr: UInt8Array) -> None:
        """Draw the trails onto the frame (H, W, 3), in place."""
        unit = drawing_unit((frame_bgr.shape[0], frame_bgr.shape[1]))
        for trail in self._trails.values():
            feet = np.array([(x, y) for _, x, y in trail.points], np.float64).round().astype(np.int32)
            cuts = np.linspace(0, len(feet) - 1, min(_PIECES, len(feet)) + 1).astype(int)
            for piece, (start, end) in enumerate(itertools.pairwise(cuts)):
                thickness = max(round(unit * (1 + 2.5 * piece / _PIECES)), 1)
                cv2.polylines(frame_bgr, [feet[start : end + 1]], False, trail.bgr, thickness, cv2.LINE_AA)
