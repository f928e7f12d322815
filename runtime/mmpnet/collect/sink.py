"""The sink that keeps the frames worth labeling."""

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmpnet.collect.collection import Collection
from mmpnet.collect.interest import InterestJudge
from mmpnet.collect.options import Interest, Limits
from mmpnet.collect.records import CollectedBox, CollectedImage
from mmpnet.collect.seen_images import COMPARED_IMAGES, SeenImages
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.text import counted, well_formed
from mmpnet.datasets.near_duplicates import fingerprint
from mmpnet.media.images import read_image
from mmpnet.media.pixelate import blur_detections
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.file_names import in_file_name, named_after
from mmpnet.runtime.sources.frame import Frame
from mmpnet.system.progress import Notice, no_notice

HOURS_OF_A_DAY = 8
"""A live source gives at most this part of a day's images in an hour, so that one busy hour does not use them up."""
LABELS_EVERY_S = 30.0
SAME_BOX_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Labeler:
    """Draws the pre-labels: the names of the models, and their function from frame to detections; without one the
    detections of the run are the pre-labels. least_score: boxes below it are left out. networks: as CollectedImage has
    them."""

    names: tuple[str, ...]
    detect: Callable[[UInt8Array], Detections] | None = None
    least_score: float = 0.4
    networks: tuple[str, ...] = ()


@dataclass(slots=True)
class Kept:
    """How many frames were kept by reason, and why others were not."""

    by_reason: dict[str, int] = field(default_factory=dict)
    images: int = 0
    boxes: int = 0
    near_duplicates: int = 0
    over_limit: int = 0


class CollectSink(Sink):
    """Adds the frames worth labeling to a collection, with pre-labels.

    blur: people are pixelated, and their boxes ignored, so that the image can only teach what is no person.
    notice: receives lines about limits.
    """

    def __init__(
        self,
        collection: Collection,
        interest: Interest,
        limits: Limits,
        labeler: Labeler,
        *,
        blur: bool = False,
        notice: Notice = no_notice,
    ) -> None:
        self.kept = Kept()
        self._collection = collection
        self._interest = interest
        self._limits = limits
        self._labeler = labeler
        self._blur = blur
        self._notice = notice
        self._judges: dict[tuple[int, str], InterestJudge] = {}
        self._seen = _seen_before(collection)
        self._last_hour: deque[float] = deque()
        self._full_day = ""
        self._written_s = time.monotonic()

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        if self._collection.bytes >= self._limits.bytes:
            self._notice(f"{self._collection.folder}: has {self._collection.bytes} bytes of images, the most allowed")
            return False
        judge = self._judge_of(result.frame)
        reasons = judge.reasons(result)
        if not reasons:
            return True
        if not self._within_limits(result.frame):
            self.kept.over_limit += 1
            return True
        sure = result.all_detections[result.all_detections.score >= self._interest.conf]
        seen = fingerprint(result.frame.pixels_bgr)
        if self._seen.has_near_duplicate(seen, sure.xyxy):
            self.kept.near_duplicates += 1
            return True
        self._add(result, reasons, sure)
        self._seen.add(seen, sure.xyxy)
        judge.kept(result)
        if time.monotonic() - self._written_s > LABELS_EVERY_S:
            self._collection.write_label_files()
            self._written_s = time.monotonic()
        return True

    def close(self) -> None:
        """Write the label files."""
        self._collection.write_label_files()

    def _judge_of(self, frame: Frame) -> InterestJudge:
        key = frame.stream, frame.source
        if key not in self._judges:
            self._judges = {one: judge for one, judge in self._judges.items() if one[0] != frame.stream}
            self._judges[key] = InterestJudge(self._interest)
        return self._judges[key]

    def _within_limits(self, frame: Frame) -> bool:
        day = f"{frame.captured_at:%Y-%m-%d}"
        if self._collection.per_day[day] >= self._limits.per_day:
            if self._full_day != day:
                self._full_day = day
                self._notice(f"{day}: {counted(self._limits.per_day, 'image')}, the most of a day")
            return False
        if frame.kind != "camera":
            return True
        while self._last_hour and frame.clock_s - self._last_hour[0] > 3600:
            self._last_hour.popleft()
        return len(self._last_hour) < max(self._limits.per_day // HOURS_OF_A_DAY, 1)

    def _add(self, result: Result, reasons: Sequence[str], sure: Detections) -> None:
        frame = result.frame
        found = result.all_detections if self._labeler.detect is None else self._labeler.detect(frame.pixels_bgr)
        boxes = _boxes(found[found.score >= self._labeler.least_score])
        pixels_bgr = frame.pixels_bgr
        if self._blur:
            pixels_bgr = pixels_bgr.copy()
            for hidden in (result.all_detections, found):
                blur_detections(pixels_bgr, hidden)
            boxes = _ignored(result.all_detections, found)
        image = CollectedImage(
            name=self._collection.free_name(stem_of(frame)),
            source=well_formed(frame.source),
            captured_at=frame.captured_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            source_time_s=round(frame.source_time_s, 3),
            width=frame.pixels_bgr.shape[1],
            height=frame.pixels_bgr.shape[0],
            reasons=tuple(reasons),
            labeled_by=self._labeler.names,
            boxes=boxes,
            people=tuple(one.xyxy for one in sure),
            networks=self._labeler.networks,
        )
        self._collection.add(image, pixels_bgr)
        self._last_hour.append(frame.clock_s)
        self.kept.images += 1
        self.kept.boxes += len(boxes)
        for reason in reasons:
            self.kept.by_reason[reason] = self.kept.by_reason.get(reason, 0) + 1


def stem_of(frame: Frame) -> str:
    """The stem of the image's name, in ASCII: the source and the time, so that names sort by time."""
    source = re.sub(r"[^A-Za-z0-9_-]+", "-", in_file_name(named_after(frame))).strip("-")[:60] or "source"
    if frame.kind == "image":
        return source
    if frame.kind == "camera":
        return f"{source}-{frame.captured_at:%Y%m%dT%H%M%S}{frame.captured_at.microsecond // 1000:03d}"
    return f"{source}-{round(frame.source_time_s * 1000):09d}ms"


def _boxes(found: Detections) -> tuple[CollectedBox, ...]:
    return tuple(_box(one.xyxy, one.score, one.class_id) for one in found if _has_area(one.xyxy))


def _ignored(weak: Detections, found: Detections) -> tuple[CollectedBox, ...]:
    """Every box that was pixelated, once."""
    hidden = (pairwise_iou(found.xyxy, weak.xyxy) >= SAME_BOX_IOU).any(axis=1)
    new = np.flatnonzero(~hidden)
    both = [*weak, *found[new]]
    return tuple(_box(one.xyxy, one.score, one.class_id, ignored=True) for one in both if _has_area(one.xyxy))


def _box(
    xyxy: tuple[float, float, float, float], score: float, class_id: int, *, ignored: bool = False
) -> CollectedBox:
    x1, y1, x2, y2 = (round(value, 2) for value in xyxy)
    return CollectedBox(x1, y1, x2, y2, round(score, 4), class_id, ignored)


def _has_area(xyxy: tuple[float, float, float, float]) -> bool:
    return xyxy[2] - xyxy[0] >= 1 and xyxy[3] - xyxy[1] >= 1


def _seen_before(collection: Collection) -> SeenImages:
    """The images of an earlier run. An image that was damaged since is not compared."""
    seen = SeenImages()
    for image in collection.images[-COMPARED_IMAGES:]:
        try:
            pixels_bgr = read_image(collection.path_of(image))
        except MmpnetError:
            continue
        seen.add(fingerprint(pixels_bgr), np.array(image.people, np.float32).reshape(-1, 4))
    return seen
