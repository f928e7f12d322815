"""Stop training runs at a chosen step instead of a chosen time."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmpnet.train.engine.train_step import StepLosses, TrainStep
from mmpnet.train.loading.loader import Batch

TESTS = Path(__file__).parents[1]


@contextmanager
def stopped_after(steps: int, number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Send the signal to this process after this many training steps."""
    take = TrainStep.__call__
    taken = 0

    def counted(self: TrainStep, batch: Batch) -> StepLosses:
        nonlocal taken
        losses = take(self, batch)
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), number)
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "__call__", counted)
        yield


def environment_of_tests() -> dict[str, str]:
    """Environment of a child process that imports from tests/support."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}
