"""Results of a run, made by hand."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracker import NO_TRACK
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame, Kind

CAPTURED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


def make_result(
    frame_bgr: UInt8Array,
    *,
    index: int = 0,
    source: str = "somewhere/a.png",
    kind: Kind = "image",
    detections: Detections | None = None,
    counts: Mapping[str, Any] | None = None,
) -> Result:
    """A result as the pipeline passes it to sinks, of frame `index` of a video of 10 fps.

    It has no detections unless they are given, and no tracks.
    """
    if detections is None:
        detections = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    frame = Frame(
        frame_bgr, source=source, kind=kind, fps=10.0, captured_at=CAPTURED_AT, captured_s=0.0, source_time_s=index / 10
    )
    times = StageTimes(1.23456, 2.5, 0.25)
    result = Result(frame, detections, detections, times, index=index, age_ms=12.34567)
    return result if counts is None else with_counts(result, counts)


def with_counts(result: Result, counts: Mapping[str, Any]) -> Result:
    """The result of a run that counts, before anyone has a track."""
    ids = np.full(len(result.detections), NO_TRACK, np.int64)
    return replace(result, tracks=Tracks(ids, counts, lambda *_: None))
