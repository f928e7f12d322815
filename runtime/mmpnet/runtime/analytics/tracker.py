"""Multi-object tracking with ByteTrack (Zhang et al. 2022), from the package `trackers`."""

import math
from dataclasses import dataclass

import numpy as np

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import MissingExtraError

NO_TRACK = -1
LOW_CONF = 0.1
"""The `conf` to detect with for tracking (the paper's low threshold): a half-hidden person scores low, but goes on."""
LOST_S = 1.0
"""How long a person may stay unseen and keep the track id, as in the paper; longer, and others take it over."""
MIN_IOU = 0.1
"""Least IoU of a detection and where its track is expected: low, since at an edge device's 5 fps people move far."""
WEAK_S = 0.5
"""How long a track may go on with low scores alone. The paper sets no end: what looks a little like a person, such as
the floor where one has stood, then stays one."""
WEAK_IOU = 0.3
"""Least IoU of a low score's box with the track's last one: a person who is half hidden has not jumped away."""
CONFIRMED_AFTER_FRAMES = 2
"""A detection in one frame only is more often a mistake than a person."""
_PACKAGE_FPS = 30
"""The frame rate in which the package counts its buffer of lost tracks."""
_CLASS_SPACING_PX = 1e5


class Tracker:
    """The tracks of one video or camera: ids count from 1, and one that has ended is not given again.

    `frame_rate`: how many frames a second `update` gets; for a camera its nominal rate, see `update`.
    `conf`: the score from which a detection may begin a track; a lower one only continues a track that nothing better
    continues, for WEAK_S at most, and where it was. It is the detector's usual threshold, and the detector itself is
    best run with LOW_CONF; then a row below `conf` without a track is one that a run without tracking would not have
    shown.
    Raises: MissingExtraError without the package; ValueError if `frame_rate` is no positive number.
    """

    def __init__(self, *, frame_rate: float, conf: float = Thresholds().conf) -> None:
        if not math.isfinite(frame_rate) or frame_rate <= 0:
            raise ValueError(f"frame_rate must be a positive number, got {frame_rate}")
        try:
            from trackers import ByteTrackTracker
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"tracking needs {error.name}: pip install 'mmpnet[track]'") from error
        self._byte_track = ByteTrackTracker(
            frame_rate=frame_rate,
            lost_track_buffer=round(LOST_S * _PACKAGE_FPS),
            track_activation_threshold=conf,
            high_conf_det_threshold=conf,
            minimum_iou_threshold=MIN_IOU,
            minimum_consecutive_frames=CONFIRMED_AFTER_FRAMES,
        )
        self._continued = _Continued(conf)
        self._frame_s = 1 / frame_rate
        self._updates = 0

    def update(self, detections: Detections, *, captured_s: float | None = None) -> IntArray:
        """The track id of each of the next frame's detections (N,), in their order; NO_TRACK for one without.

        Call it for every frame, also for one without detections. `captured_s`, seconds on any clock that never goes
        back, is for a camera, whose frames come at uneven times or are dropped; give it always or never.
        """
        from supervision import Detections as Rows

        # Two classes never share a track: they are moved so far apart that their boxes cannot overlap.
        apart_px = detections.class_id[:, None] * np.array([_CLASS_SPACING_PX, 0, _CLASS_SPACING_PX, 0])  # (N, 4)
        rows = Rows(
            xyxy=detections.xyxy + apart_px,
            confidence=detections.score,
            data={"row": np.arange(len(detections))},
        )
        tracked = self._byte_track.update(rows, timestamp=captured_s)
        track_ids = np.full(len(detections), NO_TRACK, np.int64)
        if len(tracked):
            # The package counts from 0 and gives the rows back in an order of its own.
            found = np.asarray(tracked.tracker_id, np.int64)
            track_ids[tracked.data["row"]] = np.where(found < 0, NO_TRACK, found + 1)
        self._updates += 1
        now_s = self._updates * self._frame_s if captured_s is None else captured_s
        return np.where(self._continued.allowed(detections, track_ids, now_s), track_ids, NO_TRACK)


@dataclass(slots=True)
class _LastSeen:
    sure_s: float
    xyxy: FloatArray


class _Continued:
    """Which detections may go on with the track that they were given."""

    def __init__(self, conf: float) -> None:
        self._conf = conf
        self._tracks: dict[int, _LastSeen] = {}

    def allowed(self, detections: Detections, track_ids: IntArray, now_s: float) -> BoolArray:
        """(N,): those of `conf` and more, and weak ones that are near the track's last box, soon after a sure one."""
        rows = np.ones(len(track_ids), np.bool_)
        for row, (track_id, score, xyxy) in enumerate(
            zip(track_ids.tolist(), detections.score.tolist(), detections.xyxy, strict=True)
        ):
            if track_id == NO_TRACK:
                continue
            last = self._tracks.get(track_id)
            if score >= self._conf:
                self._tracks[track_id] = _LastSeen(now_s, xyxy)
            elif last is not None and now_s - last.sure_s <= WEAK_S and _iou(xyxy, last.xyxy) >= WEAK_IOU:
                last.xyxy = xyxy
            else:
                rows[row] = False
        for track_id in [one for one, last in self._tracks.items() if now_s - last.sure_s > WEAK_S + LOST_S]:
            del self._tracks[track_id]
        return rows


def _iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> float:
    return float(pairwise_iou(a_xyxy[None], b_xyxy[None])[0, 0])
