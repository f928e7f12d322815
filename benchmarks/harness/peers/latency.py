"""The latency of contestants on one frame in memory, in turns frame by frame."""

import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.peers.contestants import Contestant, Entry, open_contestant
from harness.script import progress_named
from mmpnet.bench.interleaved import take_turns
from mmpnet.bench.latency import opencv_threads
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.thresholds import Thresholds

TIMED_THRESHOLDS = Thresholds(conf=0.25, iou=0.5, max_det=100)
"""As a user has them, not as an evaluation has them."""
WARM_UP_FRAMES = 10
THREADS = {"one thread": 1, "all cores": 0}
"""A result's keys, and the number of threads; 0 is all cores."""


def contestant_latencies(
    entries: Sequence[Entry], frame_bgr: UInt8Array, *, threads: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Median ms of each entry, by name: from pixels to boxes, and the network's part of it.

    Decoding and NMS in numpy are included.
    """
    opencv_threads(threads)
    contestants = [open_contestant(entry, threads=threads, thresholds=TIMED_THRESHOLDS) for entry in entries]
    for contestant in contestants:
        for _ in range(WARM_UP_FRAMES):
            contestant(frame_bgr)
    turns = [partial(_times_ms, contestant, frame_bgr) for contestant in contestants]
    measured = take_turns(turns, rounds=rounds, progress=progress_named(f"timing with {threads or 'all'} threads"))
    return {entry.name: _medians(times) for entry, times in zip(entries, measured, strict=True)}


def _times_ms(contestant: Contestant, frame_bgr: UInt8Array) -> tuple[float, float]:
    began = time.perf_counter()
    contestant(frame_bgr)
    return (time.perf_counter() - began) * 1e3, contestant.infer_ms


def _medians(times_ms: Sequence[tuple[Any, Any]]) -> dict[str, float]:
    end_to_end_ms, infer_ms = (round(statistics.median(column), 3) for column in zip(*times_ms, strict=True))
    return {"end_to_end_ms": end_to_end_ms, "infer_ms": infer_ms}
