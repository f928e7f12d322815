"""Confirm tracks over several frames, so that a wrong detection is neither counted nor reported."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.runtime.analytics.tracker import NO_TRACK

QUICK_S = 0.5
"""A track is confirmed after this time if its detections are sure."""
SURE = 0.45
"""What sure means: a mean score at least this far on the way from `conf` to 1."""
SLOW_S = 3.0
"""A track is confirmed after this time if the mean of its scores is at least `conf`: a half-hidden person stays.

In a clip of a table with bottles, the arms that reach in are found with mean scores up to 0.59, for at most 2.2 s.
"""
LEAST_FRAMES = 3
FORGET_S = 10.0
"""A track that is not seen for this long is forgotten."""


@dataclass(slots=True)
class _Candidate:
    began_s: float
    seen_s: float
    confirmed: bool = False
    scores: deque[tuple[float, float]] = field(default_factory=deque)
    """Times and scores of the frames of the last SLOW_S; the score is 0 where the track was not seen."""

    def mean(self, since_s: float) -> float:
        """Mean score of the frames from `since_s` on, of LEAST_FRAMES at least."""
        recent = [score for time_s, score in self.scores if time_s >= since_s]
        if len(recent) < LEAST_FRAMES:
            recent = [score for _, score in list(self.scores)[-LEAST_FRAMES:]]
        return sum(recent) / len(recent)


class TrackConfirmer:
    """Decides which tracks of one source are certain enough to count.

    A track is confirmed once and for all, after LEAST_FRAMES and QUICK_S if it is sure, else after SLOW_S.
    `conf`: lowest score that starts a track.
    """

    def __init__(self, conf: float) -> None:
        self._conf = conf
        self._sure = conf + SURE * (1 - conf)
        self._tracks: dict[int, _Candidate] = {}

    def update(self, track_ids: IntArray, scores: FloatArray, now_s: float) -> BoolArray:
        """Whether each of a frame's tracks (N,) is confirmed; scores (N,) of its detections, NO_TRACK never is."""
        seen = {one: score for one, score in zip(track_ids.tolist(), scores.tolist(), strict=True) if one != NO_TRACK}
        for track_id in seen:
            self._tracks.setdefault(track_id, _Candidate(now_s, now_s))
        for track_id, track in list(self._tracks.items()):
            if track_id in seen:
                track.seen_s = now_s
            elif now_s - track.seen_s > FORGET_S:
                del self._tracks[track_id]
                continue
            if not track.confirmed:
                self._judge(track, seen.get(track_id, 0.0), now_s)
        confirmed = [one in self._tracks and self._tracks[one].confirmed for one in track_ids.tolist()]
        return np.array(confirmed, np.bool_)

    def _judge(self, track: _Candidate, score: float, now_s: float) -> None:
        track.scores.append((now_s, score))
        while track.scores[0][0] < now_s - SLOW_S and len(track.scores) > LEAST_FRAMES:
            track.scores.popleft()
        age_s = now_s - track.began_s
        if len(track.scores) < LEAST_FRAMES or score == 0.0:
            return
        quick = age_s >= QUICK_S and track.mean(now_s - QUICK_S) >= self._sure
        track.confirmed = quick or (age_s >= SLOW_S and track.mean(now_s - SLOW_S) >= self._conf)
        if track.confirmed:
            track.scores.clear()
