"""The table of the metrics of the web page, read from a run that has a line and a zone."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from prometheus_client.metrics_core import Metric

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.metrics import Metrics
from mmpnet.runtime.web.run_status import ServedModel, StatusRecorder

COUNTS = {"line": {"in_count": 1, "out_count": 1}, "zone": {"count": 1, "in_count": 1, "out_count": 1}}
SUFFIX = {"counter": "_total"}


def metrics_table() -> str:
    """Name, type, labels and meaning of each metric, in the order in which the server writes them."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *map(_row, _families())]
    return "\n".join(rows) + "\n"


def _row(family: Metric) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    shown = ", ".join(f"`{label}`" for label in labels)
    meaning = family.documentation.removesuffix(".")
    return f"| `{family.name}{SUFFIX.get(family.type, '')}` | {family.type} | {shown} | {meaning} |"


def _families() -> Iterator[Metric]:
    """The metrics of a run with one result, so that each has a sample with its labels."""
    monitor = StatusRecorder(ServedModel("model", ("person",), "auto", "cpu"), stale_after_s=5.0)
    monitor.started([SourceCounts("camera", live=True, state="live")])
    metrics, result = Metrics(monitor), _result()
    monitor.record(result)
    metrics.observe(result)
    return metrics.families()


def _result() -> Result:
    """A result of a frame without people, in a run that counts."""
    pixels_bgr = np.zeros((4, 4, 3), np.uint8)
    taken_at = datetime(2026, 1, 1, tzinfo=UTC)
    frame = Frame(pixels_bgr, source="camera", kind="camera", fps=10.0, captured_at=taken_at, captured_s=0.0)
    nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    tracks = Tracks(np.zeros(0, np.int64), COUNTS, lambda *_: None)
    return Result(frame, nobody, nobody, StageTimes(1.0, 1.0, 1.0), tracks=tracks)
