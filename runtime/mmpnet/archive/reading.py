"""Read frames and detect in batches: a whole video, a part of one, or what the parts of one gave together."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmpnet.archive.places import Place, opened, reading, writing
from mmpnet.archive.schema import METADATA_KEY, RAW_SCHEMA
from mmpnet.archive.tasks import VideoPart
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.media.decoder_check import decoder_fault
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.sources.freeze import repeats
from mmpnet.runtime.sources.presentation_clock import PresentationClock
from mmpnet.runtime.sources.video_capture import as_bgr, grab, openable_path, stated_fps
from mmpnet.runtime.sources.video_file import video_frames

BATCH = 8
"""Frames that a worker holds: enough for a GPU, and few enough for frames of 4K."""
_SEEK_BACK_MS = (0.0, 2_000.0, 10_000.0, 60_000.0)
"""How far before the start of a part to seek, as OpenCV finds frames by a mean rate."""
_SAME_MS = 1e-3
_ROWS = 2_048
_T = TypeVar("_T")


class PartsDisagreeError(MmpnetError):
    """The parts of a video do not give the frames that its packets promise; it must be read as a whole."""


@dataclass(frozen=True, slots=True)
class DetectedFrame:
    """One frame with its detections in px of the frame; index, time_s and fps as in Frame."""

    index: int
    time_s: float
    fps: float
    size_hw: tuple[int, int]
    detections: Detections


def batched(items: Iterable[_T], count: int) -> Iterator[list[_T]]:
    """Lists of `count` items, the last one shorter; an error of the iterator comes after the items before it."""
    iterator = iter(items)
    while True:
        batch: list[_T] = []
        try:
            for item in islice(iterator, count):
                batch.append(item)
        except MmpnetError:
            if batch:
                yield batch
            raise
        if not batch:
            return
        yield batch


def detect_whole(
    path: Path, detector: Detector, *, every: int, notify: Callable[[str], None]
) -> Iterator[DetectedFrame]:
    """Every n-th frame of a video, as mmp-run reads it. Raises: SourceError as video_frames does."""
    for batch in batched(video_frames(path, stride=every, notify=notify), BATCH):
        found = detector.batch([frame.pixels_bgr for frame in batch])
        for frame, detections in zip(batch, found, strict=True):
            height, width = frame.pixels_bgr.shape[:2]
            yield DetectedFrame(frame.index, frame.source_time_s, frame.fps, (height, width), detections)


@dataclass(frozen=True, slots=True)
class _Read:
    number: int
    position_ms: float
    pixels_bgr: UInt8Array | None
    """None for a frame that is not used."""


class PartFacts(msgspec.Struct, frozen=True):
    """What the file of a part says of itself: stated frame rate, execution provider, and how many frames were used."""

    fps: float
    provider: str
    used: int


class PartReader:
    """Reads the frames of a part of a video once, and checks that they are those that its packets promise.

    Raises, while it is read: PartsDisagreeError.
    """

    def __init__(self, part: VideoPart, *, every: int) -> None:
        self._part = part
        self._every = every
        self._last: UInt8Array | None = None
        self.stated_fps = 0.0

    def __iter__(self) -> Iterator[_Read]:
        part, count = self._part, 0
        capture = self._opened()
        try:
            self.stated_fps = stated_fps(capture)
            while count < part.frames:
                yield self._read(capture, part.first_frame + count)
                count += 1
                if count < part.frames and grab(capture) != 0:
                    raise PartsDisagreeError(f"read {count} of {part.frames} frames")
            after = grab(capture)
            ends = after is None if part.end_ms is None else after == 0 and _at(capture, part.end_ms)
            if not ends:
                raise PartsDisagreeError(f"expected {part.frames} frames, but there are more")
        finally:
            capture.release()

    def _read(self, capture: Any, number: int) -> _Read:
        position_ms = float(capture.get(cv2.CAP_PROP_POS_MSEC))
        if number % self._every:
            return _Read(number, position_ms, None)
        delivered, pixels = capture.retrieve()
        if not delivered:
            raise PartsDisagreeError(f"frame {number} is damaged")
        pixels_bgr = as_bgr(pixels)
        last, self._last = self._last, pixels_bgr
        if last is not None and decoder_fault() is not None and repeats(last, pixels_bgr):
            raise PartsDisagreeError(f"frame {number} may not be decoded, as it repeats the one before")
        return _Read(number, position_ms, pixels_bgr)

    def _opened(self) -> Any:
        """A capture that has grabbed the first frame of the part."""
        start_ms = self._part.start_ms
        for back_ms in _SEEK_BACK_MS:
            capture = cv2.VideoCapture(openable_path(Path(self._part.video.path)))
            if self._part.number:
                capture.set(cv2.CAP_PROP_POS_MSEC, max(start_ms - back_ms, 0.0))
            while capture.isOpened() and grab(capture) == 0:
                if _at(capture, start_ms):
                    return capture
                if capture.get(cv2.CAP_PROP_POS_MSEC) > start_ms:
                    break
            capture.release()
        raise PartsDisagreeError(f"there is no frame at {start_ms:.1f} ms")


def _at(capture: Any, position_ms: float) -> bool:
    return math.isclose(capture.get(cv2.CAP_PROP_POS_MSEC), position_ms, abs_tol=_SAME_MS)


def detect_part(part: VideoPart, detector: Detector, out: Place, *, every: int) -> tuple[int, int]:
    """Detect in the frames of a part and write them to `out`, in the columns of RAW_SCHEMA.

    Returns how many frames were used, and how many objects were found.

    Raises: PartsDisagreeError, OutputError.
    """
    reader = PartReader(part, every=every)
    used = found = 0
    with writing(out) as partial, pq.ParquetWriter(partial, RAW_SCHEMA) as writer:
        for rows in batched(_detected(reader, detector), _ROWS):
            writer.write_table(_raw_table(rows))
            used += sum(detections is not None for *_, detections in rows)
            found += sum(len(detections) for *_, detections in rows if detections is not None)
        facts = PartFacts(reader.stated_fps, detector.provider, used)
        writer.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(facts)})
    return used, found


_RawRow = tuple[int, float, tuple[int, int], "Detections | None"]


def _detected(reader: PartReader, detector: Detector) -> Iterator[_RawRow]:
    for batch in batched(reader, BATCH):
        found = iter(detector.batch([one.pixels_bgr for one in batch if one.pixels_bgr is not None]))
        for one in batch:
            if one.pixels_bgr is None:
                yield one.number, one.position_ms, (0, 0), None
            else:
                height, width = one.pixels_bgr.shape[:2]
                yield one.number, one.position_ms, (height, width), next(found)


def _raw_table(rows: Sequence[_RawRow]) -> pa.Table:
    columns = {
        "frame": [number for number, *_ in rows],
        "position_ms": [position_ms for _, position_ms, *_ in rows],
        "width": [size_hw[1] for _, _, size_hw, _ in rows],
        "height": [size_hw[0] for _, _, size_hw, _ in rows],
        "xyxy": [None if found is None else found.xyxy.ravel() for *_, found in rows],
        "score": [None if found is None else found.score for *_, found in rows],
        "class_id": [None if found is None else found.class_id for *_, found in rows],
    }
    return pa.table(columns, schema=RAW_SCHEMA)


def joined(paths: Sequence[Place], *, every: int) -> Iterator[DetectedFrame]:
    """The frames of a video from the files of its parts, numbered and timed as mmp-run does.

    Raises: OSError or pa.ArrowInvalid if a file cannot be read.
    """
    clock = PresentationClock(_facts(paths[0]).fps)
    waiting: list[DetectedFrame] = []
    count = 0
    for row in _raw_rows(paths):
        time_s = clock.time_s(row["position_ms"])
        if row["score"] is None:
            continue
        count += 1
        detections = Detections(
            np.array(row["xyxy"], np.float32).reshape(-1, 4),
            np.array(row["score"], np.float32),
            np.array(row["class_id"], np.int64),
        )
        size_hw = row["height"], row["width"]
        waiting.append(DetectedFrame(row["frame"], time_s, clock.fps / every, size_hw, detections))
        if count == 1:  # the rate is known after two frames
            continue
        yield from (DetectedFrame(f.index, f.time_s, clock.fps / every, f.size_hw, f.detections) for f in waiting)
        waiting.clear()
    yield from waiting


def providers_of(paths: Sequence[Place]) -> dict[str, int]:
    """Number of used frames in the files of parts by execution provider. Raises: OSError or pa.ArrowInvalid."""
    found: dict[str, int] = {}
    for facts in map(_facts, paths):
        found[facts.provider] = found.get(facts.provider, 0) + facts.used
    return found


def _facts(path: Place) -> PartFacts:
    with opened(path) as file:
        return msgspec.json.decode(pq.read_metadata(file).metadata[METADATA_KEY], type=PartFacts)


def _raw_rows(paths: Sequence[Place]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with reading(path) as local, pq.ParquetFile(local) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
