"""The learning-rate curve and the averaged weights."""

import pytest
import torch

from mmpnet.train.engine.optim import learning_rate_factor, update_average, weight_average
from mmpnet.train.model import MmpNet


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


def test_averaged_weights_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    network = MmpNet(1, 1, width_mult=0.25, channels=8).train()
    average = weight_average(network, 0.3)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(2, 3, 64, 64))  # moves the batch norms' statistics
        update_average(average, network, step=step)
        decay = min(0.3, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            moves = tensor.is_floating_point()
            expected[name] = expected[name] * decay + tensor * (1 - decay) if moves else tensor.clone()
    found = average.module.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], msg=name)
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
