"""The threads of torch fit the cores that may be used."""

import pytest
import torch

from mmpnet.train.engine import device


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (64, 3)])
def test_a_container_with_a_limit_gets_no_more_threads_than_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "whole_cores", lambda: cores)
    torch.set_num_threads(3)
    try:
        device.limit_threads()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
