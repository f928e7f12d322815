"""One run: frames from a source through a detector into sinks, every stage timed."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import numpy as np

from mmpnet.contract.detections import Detections
from mmpnet.runtime.detector import Detector, StageTimes
from mmpnet.runtime.draw import draw_detections, draw_status
from mmpnet.runtime.sinks import Result, Sink
from mmpnet.runtime.sources import Source

FPS_MEMORY = 0.9
REMEMBERED_FRAMES = 10_000
"""Enough for any percentile; a camera runs for months."""


@dataclass(slots=True)
class Summary:
    """What a run saw: counts, the first few pictures with their detections, the latest frames' times and ages."""

    frames: int = 0
    detections: int = 0
    pictures: list[tuple[str, Detections]] = field(default_factory=list)
    times: deque[StageTimes] = field(default_factory=lambda: deque(maxlen=REMEMBERED_FRAMES))
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_FRAMES))

    def median_ms(self) -> dict[str, float]:
        """Median time of each stage, and of the frame's age when its result was ready."""
        stages = {
            "preprocess": [t.preprocess_ms for t in self.times],
            "infer": [t.infer_ms for t in self.times],
            "postprocess": [t.postprocess_ms for t in self.times],
            "frame age": self.ages_ms,
        }
        return {name: float(np.median(values)) for name, values in stages.items() if values}


def run(source: Source, detector: Detector, sinks: Sequence[Sink], *, remember: int = 0) -> Summary:
    """Detect in every frame until the source ends, Ctrl-C, or a sink asks to stop; sinks are closed whatever happens.

    `remember` keeps the first so many pictures' detections in the summary, for a table.
    Raises: SourceError or OutputError, after the sinks have been closed.
    """
    summary = Summary()
    annotate = any(sink.wants_picture for sink in sinks)
    frames_per_s = 0.0
    finished_s = time.perf_counter()
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        # Ctrl-C is how a run without a window ends: what was found so far is finished and summed up.
        stack.enter_context(suppress(KeyboardInterrupt))
        for frame in source:
            detections, times = detector.timed(frame.pixels_bgr)
            result = Result(summary.frames, frame, detections, times, frame.age_ms())
            now_s = time.perf_counter()
            frames_per_s = _smoothed(frames_per_s, 1 / max(now_s - finished_s, 1e-6))
            finished_s = now_s
            _record(summary, result, remember)
            annotated = None
            if annotate:
                annotated = frame.pixels_bgr.copy()
                draw_detections(annotated, detections, detector.class_names)
                if frame.kind != "picture":
                    draw_status(annotated, f"{frames_per_s:.1f} FPS")
            wanted = [sink.write(result, annotated) for sink in sinks]
            if not all(wanted):
                break
    return summary


def _smoothed(previous: float, current: float) -> float:
    return current if not previous else FPS_MEMORY * previous + (1 - FPS_MEMORY) * current


def _record(summary: Summary, result: Result, remember: int) -> None:
    summary.frames += 1
    summary.detections += len(result.detections)
    summary.times.append(result.times)
    summary.ages_ms.append(result.age_ms)
    if result.frame.kind == "picture" and len(summary.pictures) < remember:
        summary.pictures.append((result.frame.source, result.detections))
