"""Track people in the frames of a video, and write one Parquet file of results."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmpnet.archive.places import Place, opened
from mmpnet.archive.reading import DetectedFrame
from mmpnet.archive.recordings import Recording
from mmpnet.archive.schema import DETECTION, FRAME_SCHEMA, FRAMES, METADATA_KEY, NO_DATE
from mmpnet.archive.settings import Settings
from mmpnet.archive.tasks import Failure
from mmpnet.contract.arrays import BoolArray, IntArray
from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer
from mmpnet.runtime.analytics.tracker import NO_TRACK
from mmpnet.runtime.sources.frame import stamp_frame

_ROWS = 2_048


class FileRecord(msgspec.Struct, frozen=True):
    """What a file of results says about itself, in its metadata.

    sources: for each video or image its source, size and time of change. failures: what could not be read.
    """

    sources: tuple[tuple[str, int, int], ...]
    failures: tuple[Failure, ...]
    frames: int
    video_s: float
    detections: int
    providers: dict[str, int] = {}
    """Number of frames by the execution provider that detected in them."""


def result_path(folder: Place, recording: Recording, name: str) -> Place:
    """The file of results of this camera and day."""
    day = f"{recording.started:%Y-%m-%d}" if recording.started else NO_DATE
    return folder / FRAMES / f"camera={quote(recording.camera, safe='')}" / f"date={day}" / f"{name}.parquet"


def read_record(path: Place) -> FileRecord | None:
    """The record of a file of results; None if it is none, or is damaged."""
    try:
        with opened(path) as file:
            stated = pq.read_metadata(file).metadata or {}
        return msgspec.json.decode(stated[METADATA_KEY], type=FileRecord)
    except (OSError, KeyError, pa.ArrowException, msgspec.MsgspecError):
        return None


class FrameWriter:
    """Collects rows and writes them to one Parquet file; the caller renames it into place."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._settings = settings
        self._writer = pq.ParquetWriter(path, FRAME_SCHEMA, compression="zstd")
        self._rows: list[tuple[Recording, DetectedFrame, IntArray, BoolArray]] = []
        self.frames = self.detections = 0

    def add(self, recording: Recording, frame: DetectedFrame, track_ids: IntArray, confirmed: BoolArray) -> None:
        """Add a frame with the track id (N,) of each detection, NO_TRACK for none, and whether it is confirmed (N,)."""
        self._rows.append((recording, frame, track_ids, confirmed))
        self.frames += 1
        self.detections += len(frame.detections)
        if len(self._rows) >= _ROWS:
            self._flush()

    def finish(self, record: FileRecord) -> None:
        """Write the last rows and the record."""
        self._flush()
        self._writer.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(record)})

    def __enter__(self) -> "FrameWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(frame_table(self._rows, self._settings))
            self._rows.clear()


def frame_table(rows: Sequence[tuple[Recording, DetectedFrame, IntArray, BoolArray]], settings: Settings) -> pa.Table:
    """Rows in the columns of FRAME_SCHEMA."""
    found = [frame.detections for _, frame, *_ in rows]
    offsets = np.cumsum([0, *map(len, found)])
    xyxy = np.concatenate([one.xyxy for one in found]).astype(np.float32)
    class_id = np.concatenate([one.class_id for one in found])
    tracks = np.concatenate([ids for *_, ids, _ in rows])
    columns = [
        *(pa.array(np.ascontiguousarray(xyxy[:, side])) for side in range(4)),
        pa.array(np.concatenate([one.score for one in found]).astype(np.float32)),
        pa.array(class_id.astype(np.int16)),
        pa.array([settings.class_names[one] for one in class_id.tolist()], pa.string()),
        pa.array(tracks, pa.int64(), mask=tracks == NO_TRACK),
        pa.array(np.concatenate([one for *_, one in rows]), pa.bool_()),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=list(DETECTION))
    listed = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
    columns_of_frames = {
        "source": [recording.source for recording, *_ in rows],
        "camera": [recording.camera for recording, *_ in rows],
        "frame": [frame.index for _, frame, *_ in rows],
        "time_s": [frame.time_s for _, frame, *_ in rows],
        "time": [_clock_time(recording.started, frame.time_s) for recording, frame, *_ in rows],
        "width": [frame.size_hw[1] for _, frame, *_ in rows],
        "height": [frame.size_hw[0] for _, frame, *_ in rows],
        "detections": listed.cast(FRAME_SCHEMA.field("detections").type),
        "model": [settings.model_sha256] * len(rows),
    }
    return pa.table(columns_of_frames, schema=FRAME_SCHEMA)


def _clock_time(started: datetime | None, time_s: float) -> datetime | None:
    return None if started is None else started + timedelta(milliseconds=round(time_s * 1e3))


def write_tracked(writer: FrameWriter, video: Recording, frames: Iterable[DetectedFrame], settings: Settings) -> float:
    """Track people through the frames of a video as mmp-run --track does, and add the rows.

    Returns the presentation time of the last frame in seconds. An error of `frames` comes after the rows before it.
    """
    analysis = Analysis(settings.conf, max_det=settings.max_det, class_names=settings.class_names)
    analyzer: StreamAnalyzer | None = None
    last_s = 0.0
    for frame in frames:
        last_s = frame.time_s
        if not settings.track:
            writer.add(video, frame, *untracked(frame.detections))
            continue
        # The analyzer uses the size of the image alone.
        pixels = np.broadcast_to(np.uint8(0), (*frame.size_hw, 3))
        stamped = stamp_frame(
            pixels, source=video.source, kind="video", fps=frame.fps, index=frame.index, source_time_s=frame.time_s
        )
        analyzer = analyzer or StreamAnalyzer(stamped, analysis)
        shown, tracks = analyzer.analyze(stamped, frame.detections)
        confirmed = np.zeros(len(shown), np.bool_) if tracks.confirmed is None else tracks.confirmed
        kept = DetectedFrame(frame.index, frame.time_s, frame.fps, frame.size_hw, shown)
        writer.add(video, kept, tracks.ids, confirmed)
    return last_s


def untracked(detections: Detections) -> tuple[IntArray, BoolArray]:
    """Track ids and confirmations (N,) of detections without tracks."""
    return np.full(len(detections), NO_TRACK, np.int64), np.zeros(len(detections), np.bool_)
