"""Detectors timed on frames in memory, frame by frame in turns.

A sample is one call of a detector on one frame: letterbox, inference, threshold, NMS; reading and drawing are not in
it. ONNX Runtime's threads do not spin: the waiting threads of one model would occupy the cores of another.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.script import progress_named
from mmpnet.bench.compare import WARM_UP_S
from mmpnet.bench.interleaved import take_turns
from mmpnet.bench.latency import STAGES, opencv_threads, stage_reports, stage_times_ms, warm_up
from mmpnet.bench.statistics import Floats, StageReport
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.inference.detector import Detector

MEASURED_STAGES = {"end_to_end": "pixels to boxes", "infer": "network alone"}
ALL_CORES = 0


def times_in_turns(
    contestants: Sequence[tuple[Detector, UInt8Array]], *, frames: int, repeats: int, what: str
) -> Floats:
    """Each detector on its frame, all in turns and in random order: ms (contestants, repeats, frames, len(STAGES))."""
    turns = [partial(stage_times_ms, detector, frame_bgr) for detector, frame_bgr in contestants]
    times_ms = take_turns(turns, rounds=repeats * frames, progress=progress_named(what))
    return np.array(times_ms).reshape(len(contestants), repeats, frames, len(STAGES))


def model_latencies(
    paths: dict[str, Path], frame_bgr: UInt8Array, *, threads: int, frames: int, repeats: int
) -> list[dict[str, Any]]:
    """One row per model, all on the same number of threads: what it found, and its times."""
    opencv_threads(threads)
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(Detector(path, provider="cpu", threads=threads, spin=False)) for path in paths.values()
        ]
        found = [warm_up(detector, frame_bgr, seconds=WARM_UP_S) for detector in detectors]
        contestants = [(detector, frame_bgr) for detector in detectors]
        what = f"timing on {threads_text(threads)}"
        times_ms = times_in_turns(contestants, frames=frames, repeats=repeats, what=what)
    rows = []
    for name, detections, repeats_ms in zip(paths, found, times_ms, strict=True):
        stages = stage_reports(list(repeats_ms))
        facts = {key: stage_facts(getattr(stages, key)) for key in MEASURED_STAGES}
        rows.append({"model": name, "threads": threads, "detections": detections, **facts})
    return rows


def stage_facts(report: StageReport) -> dict[str, Any]:
    """A stage's report as plain values, and whether its repeats disagree."""
    return {**msgspec.to_builtins(report), "noisy": report.noisy}


def spread_text(stage: dict[str, Any]) -> str:
    """How far a stage's repeats are apart, for a table."""
    spread = "-" if stage["spread"] is None else f"{stage['spread']:.1%}"
    return f"{spread} noisy" if stage["noisy"] else spread


def threads_text(threads: int) -> str:
    """A number of threads in words."""
    return {ALL_CORES: "all cores", 1: "one thread"}.get(threads, f"{threads} threads")
