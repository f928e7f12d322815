"""Train an epoch in a process that may not have as much memory as its shards have bytes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import TrainingError

_LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""
_TRAIN = """
from mmpnet.train.cli.entry import train
sys.argv[0] = "mmp-train"
train()
"""
_HOLD_ALL = """
from pathlib import Path
held = [path.read_bytes() for path in Path(sys.argv[1]).glob("*.tar")]
"""


def train_under_limit(packed: Path, *, limit_mb: int, work: Path) -> dict[str, Any]:
    """One epoch of mmp-train from shards, with the memory of its data limited by the system (RLIMIT_DATA).

    As a check of the limit itself, another process tries to hold all shards; it must fail.

    Raises: TrainingError if mmp-train fails.
    """
    options = ["--data", packed, "--epochs", 1, "--imgsz", 96, "--batch", 8, "--width-mult", 0.35, "--channels", 24]
    options += ["--weights", "none", "--cache", "off", "--workers", 0, "--device", "cpu", "--project", work]
    done, peak_mb, said = _run(_TRAIN, options, limit_mb)
    if done != 0:
        raise TrainingError(f"mmp-train under {limit_mb} MB ended with exit code {done}: {said}")
    held, *_ = _run(_HOLD_ALL, [packed], limit_mb)
    shards_mb = sum(path.stat().st_size for path in packed.glob("*.tar")) / 1e6
    return {
        "shards_mb": round(shards_mb),
        "limit_mb": limit_mb,
        "peak_memory_mb": round(peak_mb),
        "all_shards_fit_into_the_limit": held == 0,
    }


def _run(code: str, arguments: list[Any], limit_mb: int) -> tuple[int, float, str]:
    """Exit code, largest resident memory in MB, and the last line of stderr."""
    command = [sys.executable, "-c", _LIMITED + code, str(limit_mb * 10**6), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024 / 1e6, said[-1] if said else ""
