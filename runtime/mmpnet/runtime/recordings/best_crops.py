"""The best crop of each person: large and certain."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.runtime.events.snapshot import BETTER, quality
from mmpnet.runtime.pipeline.results import Result

GONE_AFTER_S = 2.5
MARGIN = 0.05
"""Margin on each side, as a fraction of the box's sides."""


@dataclass(slots=True)
class BestCrop:
    """The best image (H, W, 3) BGR of a track so far."""

    track: int
    class_id: int
    first_at: datetime
    crop_bgr: UInt8Array
    quality: float
    seen_s: float


class BestCrops:
    """Keeps the best crop of every confirmed track of one camera, until the track has ended."""

    def __init__(self) -> None:
        self._crops: dict[int, BestCrop] = {}

    def update(self, result: Result) -> list[BestCrop]:
        """Add a result with tracks; returns the crops of tracks that have ended."""
        frame, tracks, found = result.frame, result.tracks, result.detections
        if tracks is None:
            return []
        sure = tracks.confirmed if tracks.confirmed is not None else np.ones(len(found), np.bool_)
        for row in np.flatnonzero((tracks.ids >= 0) & sure).tolist():
            track, good = int(tracks.ids[row]), quality(found.xyxy[row], float(found.score[row]))
            best = self._crops.get(track)
            if best is None or good > best.quality * BETTER:
                first_at = frame.captured_at if best is None else best.first_at
                crop_bgr = _cropped(frame.pixels_bgr, found.xyxy[row])
                best = BestCrop(track, int(found.class_id[row]), first_at, crop_bgr, good, 0.0)
                self._crops[track] = best
            best.seen_s = frame.clock_s
        ended = [one for one in self._crops.values() if not 0 <= frame.clock_s - one.seen_s <= GONE_AFTER_S]
        return [self._crops.pop(one.track) for one in ended]

    def end(self) -> list[BestCrop]:
        """The crops of all tracks that are left."""
        left, self._crops = list(self._crops.values()), {}
        return left


def _cropped(frame_bgr: UInt8Array, xyxy: FloatArray) -> UInt8Array:
    height, width = frame_bgr.shape[:2]
    margin = MARGIN * np.tile(xyxy[2:] - xyxy[:2], 2) * (-1, -1, 1, 1)
    x1, y1, x2, y2 = (xyxy + margin).round().astype(int).clip(0, (width, height, width, height)).tolist()
    # A copy, as the frame's memory is used again.
    return frame_bgr[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].copy()
