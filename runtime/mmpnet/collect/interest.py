"""Which frames of one source are worth labeling."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from mmpnet.collect.options import Interest
from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.datasets.near_duplicates import fingerprint
from mmpnet.runtime.analytics.tracker import NO_TRACK
from mmpnet.runtime.pipeline.results import Result

Reason: TypeAlias = Literal["interval", "unsure", "disagree", "changed", "image"]

BORDER_PX = 2.0
"""A person whose box is this near to the border of the frame may have left it."""
CHANGED_LEVELS, CHANGED_SHARE = 20, 0.2
"""The scene has changed if this share of a thumbnail's pixels differs by more than this number of gray levels."""


class InterestJudge:
    """Judges the frames of one source, in order."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._asked_s: float | None = None
        self._kept_s: float | None = None
        self._kept_thumbnail: UInt8Array | None = None
        self._followed: dict[int, FloatArray] = {}

    def reasons(self, result: Result) -> tuple[Reason, ...]:
        """Why this frame is worth labeling; empty if it is not, or too soon after the last one that was."""
        lost = self._lost_tracks(result)
        frame = result.frame
        if frame.kind == "image":
            return ("image",)
        now_s = frame.clock_s
        if self._asked_s is not None and 0 <= now_s - self._asked_s < self._interest.gap_s:
            return ()
        low, high = self._interest.unsure
        score = result.all_detections.score
        found: dict[Reason, Callable[[], bool]] = {
            "interval": lambda: self._kept_s is None or not 0 <= now_s - self._kept_s < self._interest.every_s,
            "unsure": lambda: bool(((score >= low) & (score <= high)).any()),
            "disagree": lambda: lost,
            "changed": lambda: self._has_changed(frame.pixels_bgr),
        }
        reasons = tuple(name for name, holds in found.items() if holds())
        if reasons:
            self._asked_s = now_s
        return reasons

    def kept(self, result: Result) -> None:
        """This frame was kept."""
        self._kept_s = result.frame.clock_s
        self._kept_thumbnail = fingerprint(result.frame.pixels_bgr).thumbnail

    def _has_changed(self, pixels_bgr: UInt8Array) -> bool:
        if self._kept_thumbnail is None:
            return False
        share = changed_share(self._kept_thumbnail[None], fingerprint(pixels_bgr).thumbnail)[0]
        return bool(share > CHANGED_SHARE)

    def _lost_tracks(self, result: Result) -> bool:
        """Whether a confirmed person of the frame before is not found in this one, without having left it."""
        tracks = result.tracks
        if tracks is None:
            return False
        found = result.detections
        sure = (found.score >= self._interest.conf) & (tracks.ids != NO_TRACK)
        here = set(tracks.ids[sure].tolist())
        lost = any(track_id not in here for track_id in self._followed)
        confirmed = sure if tracks.confirmed is None else sure & tracks.confirmed
        height, width = result.frame.pixels_bgr.shape[:2]
        inside = (found.xyxy[:, :2] > BORDER_PX).all(axis=1) & (
            found.xyxy[:, 2:] < np.array([width, height]) - BORDER_PX
        ).all(axis=1)
        rows = np.flatnonzero(confirmed & inside).tolist()
        self._followed = {int(tracks.ids[row]): found.xyxy[row] for row in rows}
        return lost


def changed_share(thumbnails: UInt8Array, thumbnail: UInt8Array) -> FloatArray:
    """The share of pixels in which each thumbnail (N, H, W) differs clearly from one (H, W) -> (N,)."""
    difference = np.abs(thumbnails.astype(np.int16) - thumbnail.astype(np.int16))
    return np.asarray((difference > CHANGED_LEVELS).mean(axis=(1, 2)), np.float32)
