"""The examples in the docstrings of the exercise's functions."""

import doctest
from types import ModuleType

import pytest

from mmpnet.train import mining, model, step


@pytest.mark.parametrize("module", [model, step, mining])
def test_they_give_what_they_say(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0
