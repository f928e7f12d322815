"""The learning-rate curve."""

import pytest

from mmpnet.train.engine.optim import learning_rate_factor


def curve(steps: int, warmup_steps: int) -> list[float]:
    return [learning_rate_factor(step=step, steps=steps, warmup_steps=warmup_steps) for step in range(steps)]


def test_it_rises_to_the_full_rate_and_falls_to_nothing() -> None:
    factors = curve(steps=1000, warmup_steps=100)
    assert factors[0] == 0.01
    assert factors[99] == factors[100] == 1
    assert factors[:100] == sorted(factors[:100])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[550] == pytest.approx(0.5)
    assert factors[-1] < 1e-5


def test_a_short_run_does_not_spend_itself_on_the_warm_up() -> None:
    factors = curve(steps=20, warmup_steps=100)
    assert max(factors) == factors[3] == 1
    assert factors[-1] < 0.02


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_shortest_runs_begin_at_the_full_rate(steps: int) -> None:
    assert curve(steps, warmup_steps=100)[0] == 1


def test_no_warm_up_is_none() -> None:
    assert curve(steps=10, warmup_steps=0)[0] == 1
