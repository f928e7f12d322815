"""Memory does not grow over thousands of frames."""

from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Thresholds
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.system.machine import resident_memory_mb
from support.fake_capture import FakeCapture

GROWTH_MB = 5.0


class Watching(Sink):
    """Records the memory sixteen times after the first fifth of the frames; requests images, to include drawing."""

    wants_annotated = True

    def __init__(self, frames: int) -> None:
        self.total = frames
        self.frames = 0
        self.memory_mb: list[float] = []

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del result, annotated_bgr
        self.frames += 1
        if self.frames > self.total // 5 and self.frames % (self.total // 20) == 0:
            memory_mb = resident_memory_mb()
            assert memory_mb is not None
            self.memory_mb.append(memory_mb)
        return self.frames < self.total


@pytest.mark.parametrize("frames", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_stays_flat(tiny_onnx: Path, tmp_path: Path, frames: int) -> None:
    few = Thresholds(conf=0.5, iou=0.3, max_det=5)
    detector = Detector(tiny_onnx, thresholds=few, provider="cpu", threads=1)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(7)]
    camera = LiveSource("camera 0", lambda: FakeCapture(lambda number: images[number % 7].copy(), period_s=0.0005))
    watching = Watching(frames)
    run(camera, detector, [watching, NdjsonSink(str(tmp_path / "out.ndjson"), detector.class_names)])
    assert watching.frames == frames
    growth_mb = np.median(watching.memory_mb[-3:]) - np.median(watching.memory_mb[:3])
    assert growth_mb < GROWTH_MB, f"memory by twentieths of the frames, in MB: {watching.memory_mb}"
