"""A run over thousands of frames, in a process whose memory no other test changes.

`python -m support.soak_process MODEL OUT FRAMES` prints the resident memory in MB as a JSON list.
"""

import json
import sys
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.system.machine import resident_memory_mb
from support.fake_capture import FakeCapture


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


def main() -> None:
    model, out, frames = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    few = Thresholds(conf=0.5, iou=0.3, max_det=5)
    detector = Detector(model, thresholds=few, provider="cpu", threads=1)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(7)]
    camera = LiveSource("camera 0", lambda: FakeCapture(lambda number: images[number % 7].copy(), period_s=0.0005))
    watching = Watching(frames)
    run(camera, detector, [watching, NdjsonSink(out, detector.class_names)])
    assert watching.frames == frames
    sys.stdout.write(json.dumps(watching.memory_mb))


if __name__ == "__main__":
    main()
