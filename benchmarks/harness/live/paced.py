"""A live run at a camera's frame rate on frames in memory, and the medians of several such runs."""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from harness.frames import shifted_frames
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.frame import Frame, OnEvent, stamp_frame


class PacedSource:
    """A live source of frames in memory, one every 1 / `fps` seconds."""

    name, live, many_files, paths = "paced", True, False, ()

    def __init__(self, frame_bgr: UInt8Array, fps: float) -> None:
        self._frames = shifted_frames(frame_bgr)
        self._fps = fps

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """The frames, each when it is due."""
        del on_event
        due_s, number = time.perf_counter(), 0
        while not stop.wait(max(due_s - time.perf_counter(), 0.0)):
            yield stamp_frame(self._frames[number % len(self._frames)], source="paced", kind="camera", fps=self._fps)
            due_s, number = due_s + 1 / self._fps, number + 1

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), lambda _: None)


def paced_run(
    model: Path, frame_bgr: UInt8Array, *, fps: float, seconds: float, threads: int, spin: bool
) -> dict[str, Any]:
    """The summary of one run; results go to an NDJSON file."""
    cv2.setNumThreads(1)
    detector = Detector(model, provider="cpu", threads=threads, spin=spin)
    detector.warm_up()
    source = PacedSource(frame_bgr, fps)
    with tempfile.TemporaryDirectory() as folder:
        sink = NdjsonSink(str(Path(folder) / "out.ndjson"), detector.class_names)
        return run(source, detector, [sink], RunOptions(limit=round(seconds * fps))).facts()


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """CPU share, ages and dropped frames of several runs' summaries."""
    shares = [facts["cpu_percent"] for facts in runs]
    # A percentile is None where its run had too few frames for it.
    ages = {rank: [facts["frame_age_ms"][rank] for facts in runs] for rank in ("p50", "p90")}
    return {
        "cpu_percent": statistics.median(shares),
        "cpu_least": min(shares),
        "cpu_most": max(shares),
        **{f"age_{rank}_ms": None if None in values else statistics.median(values) for rank, values in ages.items()},
        "dropped": sum(facts["sources"][0]["dropped"] for facts in runs),
    }
