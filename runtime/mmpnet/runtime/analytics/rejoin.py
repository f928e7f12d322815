"""Give a person whose track was lost for a moment the same track id again."""

from dataclasses import dataclass

import numpy as np

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracker import NO_TRACK

REJOIN_S = 2.0
"""How long after its last detection a track may continue under a new id of the tracker."""
REJOIN_IOU = 0.3
"""Least IoU of the new track's first box with the last box of the lost one."""
BORDER_PX = 2.0
"""Boxes this near to the border of the frame have left it: who comes in there next is somebody else."""


@dataclass(slots=True)
class _Seen:
    xyxy: FloatArray
    class_id: int
    seen_s: float
    has_left: bool
    """Whether the box touches the border of the frame."""


class TrackRejoiner:
    """Joins the tracks of one source that the tracker has cut: the same class, the same place, a moment later."""

    def __init__(self) -> None:
        self._same: dict[int, int] = {}
        self._seen: dict[int, _Seen] = {}

    def update(
        self, track_ids: IntArray, detections: Detections, now_s: float, *, frame_hw: tuple[int, int]
    ) -> IntArray:
        """The joined ids (N,) of a frame's tracks; detections in px of the frame of height and width `frame_hw`."""
        joined = np.array([self._same.get(one, one) for one in track_ids.tolist()], np.int64)
        taken = set(joined.tolist())
        for row, track_id in enumerate(track_ids.tolist()):
            if track_id == NO_TRACK or joined[row] in self._seen:
                continue
            lost = self._lost_at(detections, row, taken=taken)
            if lost is not None:
                joined[row] = self._same[track_id] = lost
                taken.add(lost)
        for row, one in enumerate(joined.tolist()):
            if one != NO_TRACK:
                xyxy = detections.xyxy[row]
                self._seen[one] = _Seen(xyxy, int(detections.class_id[row]), now_s, _at_border(xyxy, frame_hw))
        self._seen = {one: seen for one, seen in self._seen.items() if now_s - seen.seen_s <= REJOIN_S}
        self._same = {one: first for one, first in self._same.items() if first in self._seen}
        return joined

    def _lost_at(self, detections: Detections, row: int, *, taken: set[int]) -> int | None:
        """The track that was lost where a new one begins; the one that fits best."""
        lost = {
            one: seen
            for one, seen in self._seen.items()
            if one not in taken and not seen.has_left and seen.class_id == detections.class_id[row]
        }
        if not lost:
            return None
        iou = pairwise_iou(detections.xyxy[row][None], np.stack([seen.xyxy for seen in lost.values()]))[0]
        return list(lost)[int(iou.argmax())] if iou.max() >= REJOIN_IOU else None


def _at_border(xyxy: FloatArray, frame_hw: tuple[int, int]) -> bool:
    x1, y1, x2, y2 = xyxy.tolist()
    return bool(min(x1, y1, frame_hw[1] - x2, frame_hw[0] - y2) <= BORDER_PX)
