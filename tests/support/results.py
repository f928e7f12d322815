"""Results of a run, made by hand."""

from datetime import UTC, datetime

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
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
) -> Result:
    """A result as the pipeline hands it to the sinks; nothing found unless detections are given."""
    if detections is None:
        detections = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    frame = Frame(frame_bgr, source=source, kind=kind, fps=10.0, captured_at=CAPTURED_AT, captured_s=0.0)
    return Result(index, frame, detections, StageTimes(1.23456, 2.5, 0.25), 12.34567)
