"""The result of one frame and the events between frames, as sinks receive them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.sources.frame import Event, Frame


@dataclass(frozen=True, slots=True)
class Result:
    """One frame and its detections. The detection stage makes it, and the render stage completes it for the sinks.

    `detections` are those to show. If the detector finds more, for pixelation, `all_detections` has all of them.
    """

    frame: Frame
    detections: Detections
    all_detections: Detections
    times: StageTimes
    tracks: Tracks | None = None
    """None in a run without tracking."""
    track_ms: float = 0.0
    index: int = 0
    """Number of the result in its run, from 0; the render stage sets it."""
    age_ms: float = 0.0
    """Age of the frame when the sinks got its result."""

    @property
    def counts(self) -> Mapping[str, Any] | None:
        """Counts so far by line and zone; None in a run without lines and zones."""
        return None if self.tracks is None else self.tracks.counts


def event_as_dict(event: Event) -> dict[str, Any]:
    """An event of a source as an NDJSON object."""
    line = {"event": event.kind, "stream": event.stream, "source": event.source, "at": _utc(event.at)}
    if event.reason:
        line["reason"] = event.reason
    return line


def result_as_dict(result: Result, class_names: Sequence[str]) -> dict[str, Any]:
    """A result as an NDJSON object; coordinates in px of the source frame, times in ms."""
    detections, frame = result.detections, result.frame
    found: list[dict[str, Any]] = [
        {
            "xyxy": [round(value, 2) for value in xyxy],
            "score": round(score, 4),
            "class_id": class_id,
            "name": class_names[class_id],
        }
        for xyxy, score, class_id in zip(
            detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
        )
    ]
    if result.tracks is not None:
        for entry, track_id in zip(found, result.tracks.ids.tolist(), strict=True):
            entry["track_id"] = track_id if track_id >= 0 else None
    line = {
        "frame": result.index,
        "stream": frame.stream,
        "source": frame.source,
        "source_frame": frame.index,
        "source_time_s": round(frame.source_time_s, 3),
        "captured_at": _utc(frame.captured_at),
        "frame_age_ms": round(result.age_ms, 3),
        "width": frame.pixels_bgr.shape[1],
        "height": frame.pixels_bgr.shape[0],
        "detections": found,
        "timing_ms": {
            "preprocess": round(result.times.preprocess_ms, 3),
            "infer": round(result.times.infer_ms, 3),
            "postprocess": round(result.times.postprocess_ms, 3),
        },
    }
    if frame.frozen:
        line["stale"] = True
    if result.counts is not None:
        line["counts"] = result.counts
    return line


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
