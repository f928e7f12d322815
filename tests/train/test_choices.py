"""Defaults that depend on the machine."""

import os

import pytest

from mmpnet.system import machine
from mmpnet.train import choices


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
def test_loader_processes_are_for_cores_that_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert choices.default_workers() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("cores", "workers"), [(0.5, 1), (2.5, 2), (64.0, choices.MAX_WORKERS)])
def test_a_share_of_cores_is_rounded_down(monkeypatch: pytest.MonkeyPatch, cores: float, workers: int) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    assert choices.default_workers() == workers
