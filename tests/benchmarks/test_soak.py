"""soak.py detects a leak if there is one, and only then."""

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import soak
from harness.frames import camera_frame
from harness.live import soak as soak_run
from harness.live.soak import CameraInMemory, ProcessSampler, live_run
from harness.live.trends import Sample, growth, tenths
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.system.machine import resident_memory_mb

pytestmark = pytest.mark.skipif(resident_memory_mb() is None, reason="this system does not tell a process's memory")

LEAK_BYTES = 400_000
QUICK = ("person-224-int8", "--frames", "60", "--samples", "20", "--frame-size", "160x120", "--json")


def samples_of(memory_mb: Sequence[float], *, every: int) -> list[Sample]:
    """Samples with this memory at a fixed interval of frames, one second apart."""
    return [
        Sample((n + 1) * every, float(n + 1), mb, cpu_percent=50.0, latency_ms=10.0, descriptors=9, threads=4)
        for n, mb in enumerate(memory_mb)
    ]


class Leaking(Sink):
    """Leaks memory with every frame."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def write(self, result: Any, annotated_bgr: Any) -> bool:
        del result, annotated_bgr
        # Mapped memory, since malloc may reuse memory that earlier tests of this process freed.
        kept = mmap.mmap(-1, LEAK_BYTES)
        kept.write(bytes(LEAK_BYTES))
        self._kept.append(kept)
        return True


def test_the_line_is_the_leak_whatever_the_warm_up_did() -> None:
    """0.5 MB per 1000 frames, without the first 10,000, which add 80 MB of warm-up."""
    frames = 100 * np.arange(1, 301)
    memory_mb = 200 + frames / 2000 - np.where(frames <= 2000, 80.0, 0.0)
    line = growth(samples_of(memory_mb.tolist(), every=100))
    assert line.warm_up_frames == 10_000
    assert line.mb_per_1000_frames == pytest.approx(0.5)
    assert line.rise_mb == pytest.approx(10.0)
    assert line.start_mb == pytest.approx(205.0)


def test_odd_samples_do_not_move_the_line() -> None:
    random = np.random.default_rng(0)
    memory_mb = 200 + 0.02 * np.arange(100) + random.normal(0, 0.02, 100)
    memory_mb[random.choice(np.arange(15, 100), 15, replace=False)] += 60
    line = growth(samples_of(memory_mb.tolist(), every=10))
    assert line.warm_up_frames == 100
    assert line.mb_per_1000_frames == pytest.approx(2.0, rel=0.1)
    assert np.polyfit(np.arange(10, 100), memory_mb[10:], 1)[0] != pytest.approx(0.02, rel=0.5), "least squares is off"


def test_what_a_run_remembers_is_a_long_runs_warm_up_only() -> None:
    """The record of the latest 10,000 frames grows until it is full."""
    filling = (100 + np.minimum(100 * np.arange(1, 301), 10_000) / 4000).tolist()
    assert growth(samples_of(filling, every=100)).rise_mb == 0
    short = growth(samples_of(filling[:100], every=100))
    assert (short.warm_up_frames, short.mb_per_1000_frames) == pytest.approx((1000, 0.25))


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(MmpnetError, match="2 samples after the warm-up"):
        growth(samples_of([100.0, 101.0], every=10))
    with pytest.raises(MmpnetError, match="0 samples"):
        growth([])


def test_tenths_by_hand() -> None:
    assert tenths([5.0, 7.0, *[100.0] * 17, 1.0]) == (6.0, 50.5)
    assert tenths([3.0, 4.0]) == (3.0, 4.0)


def test_samples_come_at_even_frames_with_the_medians_between_them() -> None:
    sampler = ProcessSampler(seconds=0.0, frames=40, samples=10)
    sampler.started(SimpleNamespace())  # type: ignore[arg-type]
    results: list[Any] = [SimpleNamespace(index=index, age_ms=float(index)) for index in range(40)]
    going_on = [sampler.write(result, None) for result in results]
    assert going_on == [True] * 39 + [False]
    assert [sample.frame for sample in sampler.samples] == list(range(4, 41, 4))
    assert [sample.latency_ms for sample in sampler.samples] == [1.5 + 4 * number for number in range(10)]


def test_every_frame_of_the_camera_is_memory_of_its_own() -> None:
    camera = CameraInMemory(camera_frame("96x64"), period_s=0.0001)
    first, again = camera.retrieve()[1], camera.retrieve()[1]
    assert not np.shares_memory(first, again)
    assert camera.grab()
    assert not np.array_equal(camera.retrieve()[1], first)


def test_a_leak_in_a_real_run_is_its_size() -> None:
    sampler = ProcessSampler(seconds=0.0, frames=150, samples=30)
    with Detector("person-224-int8", threads=1) as detector:
        facts = live_run(detector, camera_frame("160x120"), Leaking(), sampler)
    assert facts["frames"] == 150
    line = growth(sampler.samples)
    assert line.mb_per_1000_frames == pytest.approx(LEAK_BYTES / 1e3, rel=0.15)
    assert line.rise_mb == pytest.approx(LEAK_BYTES * 135 / 1e6, rel=0.15)


def test_a_run_without_a_leak_ends_well(tmp_path: Path) -> None:
    figure = tmp_path / "soak.png"
    arguments = [*QUICK, "--most-mb", "40", "--figure", str(figure)]
    result = CliRunner().invoke(soak.app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["frames"] == 60
    assert [sample["frame"] for sample in document["samples"]] == list(range(3, 61, 3))
    elapsed_s = [sample["elapsed_s"] for sample in document["samples"]]
    assert elapsed_s == sorted(elapsed_s)
    assert document["seconds"] == elapsed_s[-1]
    memory_mb = [sample["memory_mb"] for sample in document["samples"]]
    assert document["memory_mb"] == {"first": memory_mb[0], "last": memory_mb[-1], "most": max(memory_mb)}
    assert min(memory_mb) > 30, "a Python process with ONNX Runtime holds more than that"
    # The run's own two threads end with it.
    assert max(sample["threads"] for sample in document["samples"]) >= document["before"]["threads"] + 2
    assert document["after"]["threads"] <= document["before"]["threads"]
    assert document["after"]["descriptors"] <= document["before"]["descriptors"]
    latency = document["latency_ms"]
    assert latency["last_per_first"] == pytest.approx(latency["last_tenth"] / latency["first_tenth"], rel=1e-3)
    drawn = cv2.imread(str(figure))
    assert drawn is not None
    assert drawn.std() > 10


def test_more_growth_than_allowed_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that reports 5 MB more at each call."""
    said = iter(range(100, 10_000, 5))
    monkeypatch.setattr(soak_run, "resident_memory_mb", lambda: float(next(said)))
    result = CliRunner().invoke(soak.app, [*QUICK, "--most-mb", "40"], env={"COLUMNS": "300"})
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["growth"]["mb_per_1000_frames"] == pytest.approx(5 / 3 * 1000)
    assert document["growth"]["rise_mb"] == pytest.approx(54 * 5 / 3)
    assert result.stderr.strip().splitlines()[-1] == (
        "error: memory grew by 90.0 MB after the warm-up; allowed are 40 MB"
    )
