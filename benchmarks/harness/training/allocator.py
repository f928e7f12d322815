"""Training steps with freed memory returned to the system, or kept for the next step; each measured in a process."""

import itertools
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Literal, TypeAlias

from harness.script import progress_bar
from harness.training.step import StepBench, StepWay, synthetic_batch
from mmpnet.contract.errors import DeviceError
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.engine.malloc import keep_freed_memory

FreedMemory: TypeAlias = Literal["returned", "kept"]
SETTINGS: tuple[FreedMemory, ...] = ("returned", "kept")
WARM_UP_STEPS = 2


def measure_settings(
    config: TrainConfig, *, steps: int, rounds: int
) -> tuple[dict[FreedMemory, list[float]], dict[FreedMemory, float]]:
    """Seconds of each step, and the most memory of a process in MB, by setting; the settings take turns.

    Raises: DeviceError where the C library has no mallopt.
    """
    seconds: dict[FreedMemory, list[float]] = {setting: [] for setting in SETTINGS}
    peak_mb: dict[FreedMemory, float] = {}
    for setting in progress_bar([setting for _ in range(rounds) for setting in SETTINGS], "steps"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            spent, peak = pool.submit(measured, setting, config, steps=steps).result()
        seconds[setting] += spent
        peak_mb[setting] = max(peak, peak_mb.get(setting, 0.0))
    return seconds, peak_mb


def measured(setting: FreedMemory, config: TrainConfig, *, steps: int) -> tuple[list[float], float]:
    """Seconds of each step, and the most memory this process had, in MB."""
    if setting == "kept" and not keep_freed_memory():
        raise DeviceError("the C library of this machine has no mallopt; there is nothing to compare")
    bench, batch = StepBench(StepWay(config)), synthetic_batch(config)
    times = [time.perf_counter()]
    for _ in range(WARM_UP_STEPS + steps):
        bench.step(batch)
        times.append(time.perf_counter())
    seconds = [end - start for start, end in itertools.pairwise(times)]
    return seconds[WARM_UP_STEPS:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
