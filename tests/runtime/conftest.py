"""Frames, videos and results that the tests of the runtime share."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame, Kind

BRIGHTNESS_STEP = 12
CAPTURED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


def noise(seed: int, size_hw: tuple[int, int]) -> UInt8Array:
    """A frame of coloured noise (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def write_video(path: Path, *, count: int, size_hw: tuple[int, int] = (48, 64), fps: float = 10.0) -> Path:
    """An MJPG .avi at `path`; frame i is evenly BRIGHTNESS_STEP * i bright, so `count` is 21 at most."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (size_hw[1], size_hw[0]))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((*size_hw, 3), BRIGHTNESS_STEP * index, np.uint8))
    writer.release()
    return path


def indices_by_brightness(frames_bgr: Sequence[UInt8Array]) -> list[int]:
    """Which frame of write_video each frame is."""
    return [round(float(frame.mean()) / BRIGHTNESS_STEP) for frame in frames_bgr]


def frames_of_video(path: Path) -> list[UInt8Array]:
    """Every frame of a video file, read with OpenCV alone."""
    capture = cv2.VideoCapture(str(path))
    frames: list[UInt8Array] = []
    while True:
        delivered, frame = capture.read()
        if not delivered:
            capture.release()
            return frames
        frames.append(np.asarray(frame, np.uint8))


def result_of(
    frame_bgr: UInt8Array,
    *,
    index: int = 0,
    source: str = "somewhere/a.png",
    kind: Kind = "picture",
    detections: Detections | None = None,
) -> Result:
    """A result as the pipeline hands it to the sinks; nothing found unless detections are given."""
    if detections is None:
        detections = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    frame = Frame(frame_bgr, source=source, kind=kind, fps=10.0, captured_at=CAPTURED_AT, captured_s=0.0)
    return Result(index, frame, detections, StageTimes(1.23456, 2.5, 0.25), 12.34567)


@pytest.fixture(scope="session")
def make_noise() -> Callable[[int, tuple[int, int]], UInt8Array]:
    """`noise`: (seed, size_hw) -> frame."""
    return noise


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """`write_video`: (path, *, count, size_hw, fps) -> path."""
    return write_video


@pytest.fixture(scope="session")
def frame_indices() -> Callable[[Sequence[UInt8Array]], list[int]]:
    """`indices_by_brightness`: frames -> their indices in the video."""
    return indices_by_brightness


@pytest.fixture(scope="session")
def read_video() -> Callable[[Path], list[UInt8Array]]:
    """`frames_of_video`: path -> frames."""
    return frames_of_video


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """`result_of`: (frame_bgr, *, index, source, kind, detections) -> Result."""
    return result_of


@pytest.fixture(scope="session")
def detector(tiny_onnx: Path) -> Detector:
    """The exported tiny network on one CPU thread. Its thresholds are not to be changed."""
    return Detector(tiny_onnx, provider="cpu", threads=1)


@dataclass
class FakeCapture:
    """Stands for cv2.VideoCapture: gives these frames, one every `period_s`, and then none.

    `frames` may be a function from the number of the grab to its frame. A frame that is None cannot be decoded. `modes`
    is what the camera makes of what it is asked for.
    """

    frames: Sequence[UInt8Array | None] | Callable[[int], UInt8Array | None]
    opened: bool = True
    period_s: float = 0.0
    modes: dict[int, float] = field(default_factory=dict)
    asked: list[tuple[int, float]] = field(default_factory=list)
    grabs: int = 0
    retrieved: int = 0
    released: bool = False
    _now: UInt8Array | None = None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opened

    def set(self, prop: int, value: float) -> bool:
        self.asked.append((prop, value))
        self.modes.setdefault(prop, value)
        return True

    def get(self, prop: int) -> float:
        return self.modes.get(prop, 0.0)

    def grab(self) -> bool:
        time.sleep(self.period_s)
        if callable(self.frames):
            self._now = self.frames(self.grabs)
        elif self.grabs < len(self.frames):
            self._now = self.frames[self.grabs]
        else:
            return False
        self.grabs += 1
        return True

    def retrieve(self) -> tuple[bool, UInt8Array | None]:
        self.retrieved += 1
        return self._now is not None, self._now

    def release(self) -> None:
        self.released = True


@pytest.fixture(scope="session")
def fake_capture() -> type[FakeCapture]:
    """`FakeCapture`."""
    return FakeCapture
