"""Memory does not grow over thousands of frames."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.interruption import environment_of_tests

GROWTH_MB = 5.0


@pytest.mark.parametrize("frames", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_stays_flat(tiny_onnx: Path, tmp_path: Path, frames: int) -> None:
    command = [sys.executable, "-m", "support.soak_process", str(tiny_onnx), str(tmp_path / "out.ndjson"), str(frames)]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    memory_mb = json.loads(done.stdout)
    assert len(memory_mb) == 16
    growth_mb = np.median(memory_mb[-3:]) - np.median(memory_mb[:3])
    assert growth_mb < GROWTH_MB, f"memory by twentieths of the frames, in MB: {memory_mb}"
