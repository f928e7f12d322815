"""A live run at full speed on frames in memory, and samples of its process at even intervals. Linux only.

The run is mmp-run's own: a live source that a thread grabs, whose every frame is new memory, as a camera's is; the
detector; drawing; and an NDJSON file whose lines are discarded. Frames come twice as fast as the detector takes them,
so that it is never idle and about half of them are dropped.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import cv2

from harness.frames import shifted_frames
from harness.live.trends import Sample
from mmpnet.bench.latency import stage_times_ms, warm_up
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.system.machine import resident_memory_mb
from mmpnet.system.timing import CpuClock

OWN_PROCESS = Path("/proc/self")
WARM_UP_S = 1.0
THREAD_END_S = 1.0
"""A thread that was joined is listed in /proc a moment longer."""


class CameraInMemory:
    """Takes the place of cv2.VideoCapture: a frame every `period_s`, each in memory of its own."""

    def __init__(self, frame_bgr: UInt8Array, period_s: float) -> None:
        self._frames = shifted_frames(frame_bgr)
        self._period_s, self._number = period_s, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, prop: int) -> float:
        return 1 / self._period_s if prop == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        time.sleep(self._period_s)
        self._number += 1
        return True

    def retrieve(self) -> tuple[bool, UInt8Array]:
        return True, self._frames[self._number % len(self._frames)].copy()

    def release(self) -> None:
        """There is nothing to release."""


class ProcessSampler(Sink):
    """Samples the process at even intervals of `seconds`, or of `frames`, and stops the run after them."""

    wants_annotated = True

    def __init__(self, *, seconds: float, frames: int | None, samples: int) -> None:
        self._seconds, self._frames, self._wanted = seconds, frames, samples
        self._latencies_ms: list[float] = []
        self.samples: list[Sample] = []

    def started(self, summary: Summary) -> None:
        del summary
        self._began_s, self._clock = time.perf_counter(), CpuClock()

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        self._latencies_ms.append(result.age_ms)
        frame, elapsed_s = result.index + 1, time.perf_counter() - self._began_s
        done = elapsed_s / self._seconds if self._frames is None else frame / self._frames
        if done >= (len(self.samples) + 1) / self._wanted:
            memory_mb, latency_ms = resident_memory_mb() or 0.0, statistics.median(self._latencies_ms)
            cpu_percent = self._clock.percent()
            self.samples.append(Sample(frame, elapsed_s, memory_mb, cpu_percent, latency_ms, **open_resources()))
            self._latencies_ms, self._clock = [], CpuClock()
        return done < 1


def live_run(detector: Detector, frame_bgr: UInt8Array, *sinks: Sink) -> dict[str, Any]:
    """Run until a sink stops it; its counts, and the open resources before and after it."""
    warm_up(detector, frame_bgr, seconds=WARM_UP_S)
    detect_s = statistics.median(stage_times_ms(detector, frame_bgr)[-1] for _ in range(10)) / 1e3
    camera = LiveSource("camera in memory", lambda: CameraInMemory(frame_bgr, detect_s / 2))
    before = open_resources()
    summary = run(camera, detector, [*sinks, NdjsonSink(os.devnull, detector.class_names)])
    return {
        "frames": summary.frames,
        "dropped": summary.sources[0].dropped,
        "cpu_percent": round(summary.cpu_percent, 1),
        "before": before,
        "after": _open_afterwards(before),
    }


def open_resources() -> dict[str, int]:
    """How many file descriptors and threads this process has, those of the libraries included."""
    descriptors, threads = (len(list((OWN_PROCESS / folder).iterdir())) for folder in ("fd", "task"))
    return {"descriptors": descriptors, "threads": threads}


def _open_afterwards(before: dict[str, int]) -> dict[str, int]:
    """What is open once the run's own threads have ended, or still after `THREAD_END_S`."""
    deadline_s = time.perf_counter() + THREAD_END_S
    while (after := open_resources())["threads"] > before["threads"] and time.perf_counter() < deadline_s:
        time.sleep(0.005)
    return after
