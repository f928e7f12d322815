"""The time of one frame, from raw BGR pixels in memory to final boxes.

It is measured back to back (MLPerf's single stream: the next frame starts when the last is done), and at a camera's
frame rate, where caches are replaced and clocks slow down between frames. Reading and drawing are not measured.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from mmpnet.bench.cold_start import ColdStart, cold_start
from mmpnet.bench.environment import (
    LibraryVersions,
    MachineConditions,
    MachineFacts,
    ModelFacts,
    current_conditions,
    installed_versions,
    machine_facts,
    model_facts,
)
from mmpnet.bench.statistics import Floats, StageReport, summarize
from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.inference.self_test import synthetic_frame
from mmpnet.system.timing import CpuClock

FRAME_SEED = 0
DEFAULT_FRAME_HW = (720, 1280)
WARM_UP_FRAMES = 10
STAGES = ("preprocess", "infer", "postprocess", "end_to_end")


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """What to measure, and for how long; the warm-up lasts at least warm_up_s and WARM_UP_FRAMES."""

    model: str | None = None
    provider: Provider = "auto"
    threads: int = 1
    duration_s: float = 3.0
    repeats: int = 5
    rate_fps: float = 15.0
    warm_up_s: float = 1.0
    cold_starts: int = 3


class LatencySettings(msgspec.Struct, frozen=True, kw_only=True, rename={"image": "picture"}):
    """Settings of the measurement; provider is the one in use. image: name of the file, None for a synthetic frame."""

    provider: str
    threads: int
    frame_hw: tuple[int, int]
    image: str | None
    duration_s: float
    repeats: int
    warm_up_s: float


class StageReports(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of one frame: `infer` is the model alone, `end_to_end` the whole."""

    preprocess: StageReport
    infer: StageReport
    postprocess: StageReport
    end_to_end: StageReport


class BackToBackTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Frames without pauses between them; cpu_percent 100 is one core fully used."""

    stages: StageReports
    frames_per_s: float
    cpu_percent: float


class PacedTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Frames at a camera's rate, with sleeping threads in between; dropped: frames that a newer one replaced."""

    rate_fps: float
    stages: StageReports
    dropped: int
    cpu_percent: float


class LatencyReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench run"):
    """The whole report. detections: number in the frame; noisy: whether the repeats disagree, None with one repeat."""

    schema: int = 1
    model: ModelFacts
    settings: LatencySettings
    detections: int
    noisy: bool | None
    cold_start: ColdStart | None
    back_to_back: BackToBackTimes
    paced: PacedTimes
    machine: MachineFacts
    versions: LibraryVersions
    before: MachineConditions
    after: MachineConditions


def sample_frame(image: Path | None, frame_hw: tuple[int, int] | None) -> UInt8Array:
    """An image file, at its own size or at frame_hw; without a file, a synthetic frame (H, W, 3) BGR from a seed.

    Raises: SourceError if the file cannot be read.
    """
    if image is None:
        return synthetic_frame(FRAME_SEED, frame_hw or DEFAULT_FRAME_HW)
    pixels = read_image(image)
    return pixels if frame_hw is None else np.asarray(cv2.resize(pixels, frame_hw[::-1]), np.uint8)


def measure_latency(plan: LatencyPlan, frame_bgr: UInt8Array, *, image: Path | None = None) -> LatencyReport:
    """Run the benchmark; `image` is only the name for the report.

    Raises: ContractError for a bad file, DeviceError if the provider is not available.
    """
    path = model_path(plan.model)
    before = current_conditions()
    with Detector(path, provider=plan.provider, threads=plan.threads) as detector:
        provider = detector.provider
        opencv_threads(plan.threads)
        found = warm_up(detector, frame_bgr, seconds=plan.warm_up_s)
        clock = CpuClock()
        repeats = [back_to_back(detector, frame_bgr, duration_s=plan.duration_s) for _ in range(plan.repeats)]
        busy_percent = clock.percent()
    with Detector(path, provider=plan.provider, threads=plan.threads, spin=False) as detector:
        warm_up(detector, frame_bgr, seconds=plan.warm_up_s)
        at_pace = paced(detector, frame_bgr, duration_s=plan.duration_s, rate_fps=plan.rate_fps)
    stages = stage_reports(repeats)
    settings = _settings(plan, provider, frame_bgr, image)
    return LatencyReport(
        model=model_facts(path),
        settings=settings,
        detections=found,
        noisy=stages.end_to_end.noisy,
        cold_start=cold_start(
            path,
            provider=plan.provider,
            threads=plan.threads,
            frame_hw=settings.frame_hw,
            processes=plan.cold_starts,
        ),
        back_to_back=BackToBackTimes(
            stages=stages,
            frames_per_s=round(1e3 / stages.end_to_end.median_ms, 2),
            cpu_percent=round(busy_percent, 1),
        ),
        paced=at_pace,
        machine=machine_facts(),
        versions=installed_versions(),
        before=before,
        after=current_conditions(),
    )


def opencv_threads(threads: int) -> None:
    """Let OpenCV use as many threads as the network; 0 is OpenCV's own choice."""
    cv2.setNumThreads(threads or -1)


def warm_up(detector: Detector, frame_bgr: UInt8Array, *, seconds: float) -> int:
    """Run for `seconds` and at least WARM_UP_FRAMES, without timing; returns the detections in the last frame."""
    end, frames, found = time.perf_counter() + seconds, 0, 0
    while frames < WARM_UP_FRAMES or time.perf_counter() < end:
        found = len(detector(frame_bgr))
        frames += 1
    return found


def stage_times_ms(detector: Detector, frame_bgr: UInt8Array) -> tuple[float, float, float, float]:
    """The times of one frame, in the order of STAGES; end to end is measured around the whole call."""
    started = time.perf_counter()
    _, times = detector.timed(frame_bgr)
    end_to_end_ms = (time.perf_counter() - started) * 1e3
    return times.preprocess_ms, times.infer_ms, times.postprocess_ms, end_to_end_ms


def back_to_back(detector: Detector, frame_bgr: UInt8Array, *, duration_s: float) -> Floats:
    """Process frames without pauses for `duration_s`, at least one: ms (N, len(STAGES))."""
    end = time.perf_counter() + duration_s
    rows = [stage_times_ms(detector, frame_bgr)]
    while time.perf_counter() < end:
        rows.append(stage_times_ms(detector, frame_bgr))
    return np.array(rows)


def paced(detector: Detector, frame_bgr: UInt8Array, *, duration_s: float, rate_fps: float) -> PacedTimes:
    """Process the frames of a camera of this rate for `duration_s`; only the newest frame is used, as in mmp-run."""
    rows, number, dropped = [], 0, 0
    clock, began = CpuClock(), time.perf_counter()
    while number == 0 or number < duration_s * rate_fps:
        time.sleep(max(began + number / rate_fps - time.perf_counter(), 0.0))
        rows.append(stage_times_ms(detector, frame_bgr))
        newest = math.floor((time.perf_counter() - began) * rate_fps)
        dropped += max(newest - number - 1, 0)
        number = max(number + 1, newest)
    stages = stage_reports([np.array(rows)])
    return PacedTimes(rate_fps=rate_fps, stages=stages, dropped=dropped, cpu_percent=round(clock.percent(), 1))


def stage_reports(repeats: Sequence[Floats]) -> StageReports:
    """A summary of each stage, from each repeat's times in ms (N, len(STAGES))."""
    return StageReports(
        **{name: summarize([repeat[:, column] for repeat in repeats]) for column, name in enumerate(STAGES)}
    )


def _settings(plan: LatencyPlan, provider: str, frame_bgr: UInt8Array, image: Path | None) -> LatencySettings:
    return LatencySettings(
        provider=provider,
        threads=plan.threads,
        frame_hw=(frame_bgr.shape[0], frame_bgr.shape[1]),
        image=None if image is None else image.name,
        duration_s=plan.duration_s,
        repeats=plan.repeats,
        warm_up_s=plan.warm_up_s,
    )
