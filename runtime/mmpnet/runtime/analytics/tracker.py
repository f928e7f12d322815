"""Multi-object tracking with ByteTrack (Zhang et al. 2022), from the package `trackers`."""

import math
from dataclasses import dataclass

import numpy as np

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MissingExtraError, first_line
from mmpnet.contract.thresholds import Thresholds

NO_TRACK = -1
LOW_CONF = 0.1
"""The `conf` to detect with for tracking (the paper's low threshold): a half-hidden person still has a low score."""
LOST_S = 1.0
"""How long an unseen person keeps the track id, as in the paper; if longer, other people take ids over."""
LOST_FRAMES, MOST_LOST_S = 1.5, 10.0
"""At a low frame rate, a person keeps the id for this many frames instead, but never for longer than MOST_LOST_S."""
MIN_IOU = 0.1
"""Least IoU of a detection with its track's predicted box: low, since people move far between frames at 5 fps."""
WEAK_S = 0.5
"""How long a track may continue on low scores alone. The paper has no limit, but then something that looks slightly
like a person, such as the floor where one stood, stays a track forever."""
WEAK_IOU = 0.3
"""Least IoU of a box with low score with the last box of its track: a half-hidden person does not move suddenly."""
CONFIRMED_AFTER_FRAMES = 2
"""Frames until a track counts: a detection in a single frame is more often a mistake than a person."""
_PACKAGE_FPS = 30
"""The frame rate for which the package defines its buffer of lost tracks."""
_CLASS_SPACING_PX = 1e5


class Tracker:
    """Tracks of one video or camera: ids start at 1, and the id of an ended track is not used again.

    `frame_rate`: the nominal number of frames per second that `update` gets.
    `conf`: lowest score that can start a track; lower scores only continue a track that has no better detection, for at
    most WEAK_S and close to its last box. Use the detector's usual threshold here, and run the detector itself with
    LOW_CONF; then rows below `conf` without a track are those that a run without tracking would not show.

    Raises: MissingExtraError without the package; ValueError if `frame_rate` is not a positive number.
    """

    def __init__(self, *, frame_rate: float, conf: float = Thresholds().conf) -> None:
        if not math.isfinite(frame_rate) or frame_rate <= 0:
            raise ValueError(f"frame_rate must be a positive number, got {frame_rate}")
        try:
            from trackers import ByteTrackTracker
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"tracking needs {error.name}: pip install 'mmpnet[track]'") from error
        except (ImportError, OSError, AttributeError) as error:
            # The packages look for a temporary folder and for fonts while they are imported.
            advice = "set TMPDIR to a writable folder" if "temporary" in str(error) else "install mmpnet[track] again"
            raise MissingExtraError(f"tracking cannot load its packages ({first_line(error)}); {advice}") from error
        lost_s = max(LOST_S, min(LOST_FRAMES / frame_rate, MOST_LOST_S))
        self._byte_track = ByteTrackTracker(
            frame_rate=frame_rate,
            lost_track_buffer=round(lost_s * _PACKAGE_FPS),
            track_activation_threshold=conf,
            high_conf_det_threshold=conf,
            minimum_iou_threshold=MIN_IOU,
            minimum_consecutive_frames=CONFIRMED_AFTER_FRAMES,
        )
        self._continued = _Continued(conf, lost_s)
        self._frame_s = 1 / frame_rate
        self._restart_s = WEAK_S + lost_s + 1.0
        self._offset_s = 0.0
        self._last_s: float | None = None

    def update(self, detections: Detections, *, time_s: float | None = None) -> IntArray:
        """Track ids of the next frame's detections (N,), in their order; NO_TRACK for those without a track.

        Call it for every frame, also for frames without detections. `time_s` is the frame's time in seconds on any
        clock: frames come at uneven times, after gaps of minutes, or are dropped. Give it always or never; without it,
        frames come at the nominal rate. A clock that goes back starts again, as a repeated video does: all tracks end.
        """
        from supervision import Detections as Rows

        now_s = self._now_s(time_s)
        # Two classes never share a track: their boxes are moved so far apart that they cannot overlap.
        apart_px = detections.class_id[:, None] * np.array([_CLASS_SPACING_PX, 0, _CLASS_SPACING_PX, 0])  # (N, 4)
        rows = Rows(
            xyxy=detections.xyxy + apart_px,
            confidence=detections.score,
            data={"row": np.arange(len(detections))},
        )
        tracked = self._byte_track.update(rows, timestamp=now_s)
        track_ids = np.full(len(detections), NO_TRACK, np.int64)
        if len(tracked):
            # The package counts from 0 and returns the rows in its own order.
            found = np.asarray(tracked.tracker_id, np.int64)
            track_ids[tracked.data["row"]] = np.where(found < 0, NO_TRACK, found + 1)
        return np.where(self._continued.allowed(detections, track_ids, now_s), track_ids, NO_TRACK)

    @property
    def last_s(self) -> float:
        """The time of the last update on a clock that only increases; 0 before the first."""
        return self._last_s or 0.0

    def _now_s(self, time_s: float | None) -> float:
        """The time of the next frame on a clock that only increases."""
        last_s = self._last_s
        now_s = (0.0 if last_s is None else last_s + self._frame_s) if time_s is None else time_s + self._offset_s
        if last_s is not None and now_s <= last_s:
            again_s = last_s + (self._restart_s if last_s - now_s > LOST_S else self._frame_s / 100)
            self._offset_s += again_s - now_s
            now_s = again_s
        self._last_s = now_s
        return now_s


@dataclass(slots=True)
class _LastSeen:
    sure_s: float
    xyxy: FloatArray


class _Continued:
    """Decides which detections may continue the track that they were assigned to."""

    def __init__(self, conf: float, lost_s: float) -> None:
        self._conf = conf
        self._lost_s = lost_s
        self._tracks: dict[int, _LastSeen] = {}

    def allowed(self, detections: Detections, track_ids: IntArray, now_s: float) -> BoolArray:
        """(N,): detections from `conf`, and weak ones near the track's last box and soon after a strong detection."""
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
        for track_id in [one for one, last in self._tracks.items() if now_s - last.sure_s > WEAK_S + self._lost_s]:
            del self._tracks[track_id]
        return rows


def _iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> float:
    return float(pairwise_iou(a_xyxy[None], b_xyxy[None])[0, 0])
