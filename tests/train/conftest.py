"""Runs that many tests compare with or look into, each trained once."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.start import start_run

FinishedRun = Callable[[TrainConfig], Path]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """config -> the folder of a run with it that nothing interrupted. Read only: other tests get the same folder."""
    folders: dict[bytes, Path] = {}

    def run(config: TrainConfig) -> Path:
        key = msgspec.json.encode(config)
        if key not in folders:
            folder = tmp_path_factory.mktemp("finished") / "run"
            start_run(config, folder)
            folders[key] = folder
        return folders[key]

    return run
