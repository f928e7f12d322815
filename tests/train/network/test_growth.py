"""A larger network that takes the weights of a smaller one gives the same output, and learns with what is new."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmpnet.contract.errors import CheckpointError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import Architecture, MmpNet
from mmpnet.train.network.growth import grown
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.weights import load_weights

SEPARATE = Architecture(separate_towers=True, tower_depth=2)


def network(channels: int, kernel_size: int) -> MmpNet:
    architecture = Architecture(separate_towers=True, tower_depth=2, kernel_size=kernel_size)
    return MmpNet(2, 2, channels=channels, width_mult=0.25, architecture=architecture).eval()


@pytest.fixture
def small(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "small.pth", separate_towers=True, tower_depth=2)


def head(model: ModelConfig) -> HeadMeaning:
    return HeadMeaning(model.class_names, model.anchors)


@pytest.mark.parametrize(("channels", "kernel_size"), [(16, 5), (24, 3), (24, 7), (17, 5)])
def test_a_larger_network_gives_the_same_output(
    small: Path, tiny_model_config: ModelConfig, channels: int, kernel_size: int
) -> None:
    torch.manual_seed(1)
    larger = network(channels, kernel_size)
    assert load_weights(larger, str(small), head=head(tiny_model_config)) == f"weights from {small}"
    images = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(larger(images), load_checkpoint(small).network()(images), rtol=1e-4, atol=1e-4)


def test_new_channels_and_taps_are_learned(small: Path, tiny_model_config: ModelConfig) -> None:
    """A step changes what the last layer reads of them, and the new taps; a second one the new channels themselves."""
    torch.manual_seed(1)
    larger = network(24, 5)
    load_weights(larger, str(small), head=head(tiny_model_config))
    larger.train()
    optimizer = torch.optim.SGD(larger.parameters(), lr=0.1)
    depthwise, pointwise = larger.get_parameter("tower.0.weight"), larger.get_parameter("tower.3.weight")
    before = pointwise[16:].detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        larger(torch.randn(4, 3, 64, 64)).square().mean().backward()
        optimizer.step()
    assert (larger.predict.weight[:, 16:] != 0).all()
    assert (depthwise[:16, :, 0] != 0).any()
    assert not torch.equal(pointwise[16:], before)


def test_a_class_that_is_new_starts_at_random_in_a_larger_network_too(
    small: Path, tiny_model_config: ModelConfig
) -> None:
    torch.manual_seed(1)
    larger = MmpNet(2, 2, num_classes=3, channels=24, width_mult=0.25, architecture=SEPARATE).eval()
    line = load_weights(
        larger, str(small), head=HeadMeaning(("background", "dog", "person"), tiny_model_config.anchors)
    )
    assert line.endswith("dog starts at random")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        kept = larger(images)[:, [0, 2]]
        torch.testing.assert_close(kept, load_checkpoint(small).network()(images)[:, :2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "given", "own"),
    [
        ("tower.0.weight", (8, 1, 5, 5), (8, 1, 3, 3)),
        ("tower.0.weight", (8, 1, 2, 2), (8, 1, 3, 3)),
        ("lateral.0.0.weight", (24, 8, 1, 1), (16, 8, 1, 1)),
        ("features.0.0.weight", (8, 3, 3, 3), (16, 3, 3, 3)),
        ("predict.weight", (8, 24, 1, 1), (8, 16, 1, 1)),
        ("predict.bias", (8, 1), (8,)),
    ],
)
def test_what_does_not_fit_is_one_line(name: str, given: tuple[int, ...], own: tuple[int, ...]) -> None:
    with pytest.raises(
        CheckpointError, match=rf"^model\.pth: a checkpoint of another architecture \({name} is "
    ) as caught:
        grown({name: torch.zeros(given)}, {name: torch.zeros(own)}, source="model.pth")
    assert "\n" not in str(caught.value)
