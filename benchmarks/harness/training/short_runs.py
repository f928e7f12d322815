"""Runs of mmp-train that a benchmark starts, goes on with, and reads."""

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmpnet.contract.errors import TrainingError
from mmpnet.train.engine.run_writer import LAST


def train_to_end(folder: Path, flags: Sequence[str], epochs: int) -> None:
    """Start a run of so many epochs in its folder, resume it, or leave it where it is complete.

    flags: those of mmp-train for a new run, without --name.

    Raises: TrainingError if it fails.
    """
    command = [sys.executable, "-c", "from mmpnet.train.cli.entry import train; train()"]
    if (folder / LAST).exists():
        if len(epoch_rows(folder)) >= epochs:
            return
        flags = ["--resume", str(folder)]
    else:
        flags = [*flags, "--name", folder.name]
    code = subprocess.run([*command, *flags], check=False).returncode
    if code:
        raise TrainingError(f"{folder.name}: mmp-train ended with exit code {code}; give the same command again")


def epoch_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's results.csv, one for each epoch that is done; empty if there is no such file."""
    path = folder / "results.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rounded(row: dict[str, str], names: Sequence[str]) -> dict[str, float]:
    """The named numbers of a row, with four digits; 0 where it has none."""
    return {name: round(float(row[name] or 0), 4) for name in names}
