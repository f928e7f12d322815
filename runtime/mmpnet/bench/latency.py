"""How long one frame takes, from raw BGR pixels in memory to final boxes.

Back to back ("single stream": the next frame when the last is done), and at a camera's pace, where caches cool and
clocks fall between frames. Reading and drawing are not in it.
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
    Conditions,
    Machine,
    ModelFacts,
    Versions,
    conditions,
    machine,
    model_facts,
    versions,
)
from mmpnet.bench.statistics import Floats, StageReport, summarise
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
class Plan:
    """What is measured, and for how long; warm_up_s is a minimum, as are WARM_UP_FRAMES."""

    model: str | None = None
    provider: Provider = "auto"
    threads: int = 1
    duration_s: float = 3.0
    repeats: int = 5
    rate_fps: float = 15.0
    warm_up_s: float = 1.0
    cold_starts: int = 3


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How it was measured; provider is the one in use."""

    provider: str
    threads: int
    frame_hw: tuple[int, int]
    picture: str | None
    duration_s: float
    repeats: int
    warm_up_s: float


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """One frame's way: `infer` is the model alone, `end_to_end` all of it."""

    preprocess: StageReport
    infer: StageReport
    postprocess: StageReport
    end_to_end: StageReport


class BackToBack(msgspec.Struct, frozen=True, kw_only=True):
    """The next frame when the last is done; cpu_percent: 100 is one core, all the time."""

    stages: Stages
    frames_per_s: float
    cpu_percent: float


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """Frames at a camera's pace, threads asleep in between; dropped: they came and went while another was looked at."""

    rate_fps: float
    stages: Stages
    dropped: int
    cpu_percent: float


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench run"):
    """All of it. detections: found in the frame; noisy: the repeats disagree, None with one repeat."""

    schema: int = 1
    model: ModelFacts
    settings: Settings
    detections: int
    noisy: bool | None
    cold_start: ColdStart | None
    back_to_back: BackToBack
    paced: Paced
    machine: Machine
    versions: Versions
    before: Conditions
    after: Conditions


def sample_frame(picture: Path | None, frame_hw: tuple[int, int] | None) -> UInt8Array:
    """A picture file, at its own size or at this one; without a file a seeded synthetic frame (H, W, 3) BGR.

    Raises: SourceError if the file cannot be read.
    """
    if picture is None:
        return synthetic_frame(FRAME_SEED, frame_hw or DEFAULT_FRAME_HW)
    pixels = read_image(picture)
    return pixels if frame_hw is None else np.asarray(cv2.resize(pixels, frame_hw[::-1]), np.uint8)


def measure(plan: Plan, frame_bgr: UInt8Array, *, picture: Path | None = None) -> Report:
    """Do as planned; `picture` is only named in the report.

    Raises: ContractError for a bad file, DeviceError for a provider that is not honoured.
    """
    path = model_path(plan.model)
    before = conditions()
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
    settings = _settings(plan, provider, frame_bgr, picture)
    return Report(
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
        back_to_back=BackToBack(
            stages=stages,
            frames_per_s=round(1e3 / stages.end_to_end.median_ms, 2),
            cpu_percent=round(busy_percent, 1),
        ),
        paced=at_pace,
        machine=machine(),
        versions=versions(),
        before=before,
        after=conditions(),
    )


def opencv_threads(threads: int) -> None:
    """Let OpenCV use as many threads as the network; 0 is its own choice."""
    cv2.setNumThreads(threads or -1)


def warm_up(detector: Detector, frame_bgr: UInt8Array, *, seconds: float) -> int:
    """Run uncounted, for so long and WARM_UP_FRAMES at least; how many detections the last frame had."""
    end, frames, found = time.perf_counter() + seconds, 0, 0
    while frames < WARM_UP_FRAMES or time.perf_counter() < end:
        found = len(detector(frame_bgr))
        frames += 1
    return found


def stage_times_ms(detector: Detector, frame_bgr: UInt8Array) -> tuple[float, float, float, float]:
    """One frame, by STAGES; end to end is seen from outside."""
    started = time.perf_counter()
    _, times = detector.timed(frame_bgr)
    end_to_end_ms = (time.perf_counter() - started) * 1e3
    return times.preprocess_ms, times.infer_ms, times.postprocess_ms, end_to_end_ms


def back_to_back(detector: Detector, frame_bgr: UInt8Array, *, duration_s: float) -> Floats:
    """Frame after frame, for so long and one at least: ms (N, len(STAGES))."""
    end = time.perf_counter() + duration_s
    rows = [stage_times_ms(detector, frame_bgr)]
    while time.perf_counter() < end:
        rows.append(stage_times_ms(detector, frame_bgr))
    return np.array(rows)


def paced(detector: Detector, frame_bgr: UInt8Array, *, duration_s: float, rate_fps: float) -> Paced:
    """As many frames as a camera of this rate gives in that time, always the newest one, as mmp-run does."""
    rows, number, dropped = [], 0, 0
    clock, began = CpuClock(), time.perf_counter()
    while number == 0 or number < duration_s * rate_fps:
        time.sleep(max(began + number / rate_fps - time.perf_counter(), 0.0))
        rows.append(stage_times_ms(detector, frame_bgr))
        newest = math.floor((time.perf_counter() - began) * rate_fps)
        dropped += max(newest - number - 1, 0)
        number = max(number + 1, newest)
    stages = stage_reports([np.array(rows)])
    return Paced(rate_fps=rate_fps, stages=stages, dropped=dropped, cpu_percent=round(clock.percent(), 1))


def stage_reports(repeats: Sequence[Floats]) -> Stages:
    """Each repeat's times in ms (N, len(STAGES)), summarised by stage."""
    return Stages(**{name: summarise([repeat[:, column] for repeat in repeats]) for column, name in enumerate(STAGES)})


def _settings(plan: Plan, provider: str, frame_bgr: UInt8Array, picture: Path | None) -> Settings:
    return Settings(
        provider=provider,
        threads=plan.threads,
        frame_hw=(frame_bgr.shape[0], frame_bgr.shape[1]),
        picture=None if picture is None else picture.name,
        duration_s=plan.duration_s,
        repeats=plan.repeats,
        warm_up_s=plan.warm_up_s,
    )
