"""Runs that many tests use, each trained once."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.start import start_run

FinishedRun = Callable[[TrainConfig], Path]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A function from a configuration to the folder of an uninterrupted run, which tests share: read only."""
    folders: dict[bytes, Path] = {}

    def run(config: TrainConfig) -> Path:
        key = msgspec.json.encode(config)
        if key not in folders:
            folder = tmp_path_factory.mktemp("finished") / "run"
            start_run(config, folder)
            folders[key] = folder
        return folders[key]

    return run
