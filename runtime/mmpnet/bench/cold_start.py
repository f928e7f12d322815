"""Cold starts: the time and memory of a fresh process up to its first detections, measured from outside."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from mmpnet.contract.errors import DeviceError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.child_python import PYTHON_COMMAND
from mmpnet.system.machine import peak_memory_mb


class ColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over fresh processes, with the files in the system's cache. The time is that of the whole process:
    imports, session and the first detection. peak_memory_mb is None if the system does not report it."""

    processes: int
    seconds: float
    peak_memory_mb: float | None


def cold_start(
    path: Path, *, provider: Provider, threads: int, frame_hw: tuple[int, int], processes: int
) -> ColdStart | None:
    """Time `processes` cold starts; returns None if `processes` is 0.

    Raises: DeviceError if a process fails.
    """
    arguments = [str(path), provider, str(threads), *map(str, frame_hw)]
    # -P: a file in the current folder must not shadow a package.
    command = [*PYTHON_COMMAND, "-m", "mmpnet.bench.cold_start", *arguments]
    runs = [_timed(command) for _ in range(processes)]
    if not runs:
        return None
    peaks = [peak for _, peak in runs if peak is not None]
    return ColdStart(
        processes=processes,
        seconds=round(statistics.median(seconds for seconds, _ in runs), 3),
        peak_memory_mb=round(statistics.median(peaks), 1) if peaks else None,
    )


def _timed(command: list[str]) -> tuple[float, float | None]:
    """Seconds and MB of one process."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
        raise DeviceError(f"a fresh process failed before its first detections ({reason}); try --cold-starts 0")
    return seconds, msgspec.json.decode(done.stdout, type=float | None)


def main() -> None:
    """Run in the fresh process: takes MODEL PROVIDER THREADS HEIGHT WIDTH, prints its peak memory in MB, or null."""
    path, provider, threads, height, width = sys.argv[1:]
    detector = Detector(path, provider=cast(Provider, provider), threads=int(threads))
    detector(np.zeros((int(height), int(width), 3), np.uint8))
    sys.stdout.write(msgspec.json.encode(peak_memory_mb()).decode() + "\n")


if __name__ == "__main__":
    main()
