"""The weights that a run may start from, and those that are refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from torchvision.models import mobilenet_v2

from mmpnet.contract.errors import CheckpointError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import Architecture, MmpNet
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.weights import load_weights

MakeCheckpoint = Callable[..., Path]


def test_weights_file_fills_the_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = mobilenet_v2(weights=None).state_dict()
    torch.save(state, tmp_path / "mobilenet.pth")
    network = MmpNet(1, 1)
    load_weights(network, str(tmp_path / "mobilenet.pth"))
    for name, tensor in network.features.state_dict().items():
        torch.testing.assert_close(tensor, state["features." + name])


def test_bad_weights_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for source in ("absent.pth", "text.pth", "other.pth", "list.pth"):
        with pytest.raises(CheckpointError, match=source) as caught:
            load_weights(MmpNet(1, 1), str(tmp_path / source))
        assert "\n" not in str(caught.value)


def test_failed_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(CheckpointError, match="--weights FILE"):
        load_weights(MmpNet(1, 1), "imagenet")


def test_a_checkpoint_fills_the_whole_network(tiny_checkpoint: Path, tiny_model_config: ModelConfig) -> None:
    network = tiny_model_config.build()
    line = load_weights(network, str(tiny_checkpoint), head=meaning(tiny_model_config))
    for name, tensor in load_checkpoint(tiny_checkpoint).ema.items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert "random" not in line


def meaning(model: ModelConfig) -> HeadMeaning:
    return HeadMeaning(model.class_names, model.anchors)


def rows_of(predict: Tensor, index: int) -> Tensor:
    """The rows of one class, for the 4 anchors of a cell."""
    return predict[4 * index : 4 * index + 4]


@pytest.fixture
def blue_and_red(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "two.pth", class_names=("background", "blue", "red"))


@pytest.mark.parametrize("separate_towers", [False, True])
def test_rows_of_the_last_layer_move_by_class_name(
    blue_and_red: Path, tiny_model_config: ModelConfig, separate_towers: bool
) -> None:
    names = ("background", "green", "red", "blue")
    model = msgspec.structs.replace(tiny_model_config, class_names=names, separate_towers=separate_towers)
    network = model.build().eval()
    fresh = network.predict.weight.clone()
    line = load_weights(network, str(blue_and_red), head=meaning(model))
    trained = load_checkpoint(blue_and_red).ema["predict.weight"]
    for own, given in ((0, 0), (2, 2), (3, 1)):
        assert torch.equal(rows_of(network.predict.weight, own), rows_of(trained, given))
    assert torch.equal(rows_of(network.predict.weight, 1), rows_of(fresh, 1))
    assert line == f"weights from {blue_and_red}; in the last layer, green starts at random"
    # The outputs of the classes, and the offsets, are those of the trained network.
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, output = load_checkpoint(blue_and_red).network()(images), network(images)
    torch.testing.assert_close(output[:, [0, 3, 2, 4, 5, 6, 7]], expected)


def test_classes_in_another_order_give_the_same_detections(blue_and_red: Path, tiny_model_config: ModelConfig) -> None:
    model = msgspec.structs.replace(tiny_model_config, class_names=("background", "red", "blue"))
    network = model.build().eval()
    line = load_weights(network, str(blue_and_red), head=meaning(model))
    assert "moved by name" in line
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = load_checkpoint(blue_and_red).network()(images)
        torch.testing.assert_close(network(images)[:, [0, 2, 1, 3, 4, 5, 6]], expected, rtol=0, atol=0)


def test_classes_that_are_left_out_are_named(blue_and_red: Path, tiny_model_config: ModelConfig) -> None:
    model = msgspec.structs.replace(tiny_model_config, class_names=("background", "red"))
    line = load_weights(model.build(), str(blue_and_red), head=meaning(model))
    assert line == f"weights from {blue_and_red}; what it knows of blue is left out"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"class_names": ("background", "dog")}, "it was trained for person"),
        ({"class_names": ("background", "a", "b", "c", "d")}, "it was trained for person"),
        ({"sizes_px": (16.0, 41.0)}, r"it was trained for anchor sizes \(16.0, 40.0\)"),
        ({"sizes_px": (40.0, 16.0)}, "it was trained for anchor sizes"),
        ({"aspect_ratios": (1.0, 2.0)}, r"ratios \(1.0, 2.5\)"),
        ({"aspect_ratios": (1.0, 2.5, 3.0)}, "it was trained for anchor sizes"),
        (None, "have no names"),
    ],
)
def test_other_classes_or_anchors_start_with_a_fresh_last_layer(
    tiny_checkpoint: Path, tiny_model_config: ModelConfig, changes: dict[str, Any] | None, reason: str
) -> None:
    model = msgspec.structs.replace(tiny_model_config, **(changes or {}))
    network = model.build()
    fresh = network.predict.weight.clone()
    line = load_weights(network, str(tiny_checkpoint), head=None if changes is None else meaning(model))
    trained = load_checkpoint(tiny_checkpoint).ema
    assert torch.equal(network.predict.weight, fresh)
    assert torch.equal(network.state_dict()["tower.0.weight"], trained["tower.0.weight"])
    assert "the last layer starts at random" in line
    assert re.search(reason, line)


def test_separate_towers_start_with_the_output_of_the_one_tower(
    tiny_checkpoint: Path, tiny_model_config: ModelConfig
) -> None:
    one = load_checkpoint(tiny_checkpoint).network()
    two = MmpNet(2, 2, channels=16, width_mult=0.25, architecture=Architecture(separate_towers=True)).eval()
    load_weights(two, str(tiny_checkpoint), head=meaning(tiny_model_config))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(two(images), one(images))


@pytest.mark.parametrize("options", [{"channels": 12}, {"width_mult": 0.5, "channels": 16}, {"stride": 16}])
def test_a_checkpoint_of_another_architecture_is_one_line(tiny_checkpoint: Path, options: dict[str, float]) -> None:
    network = MmpNet(2, 2, **{"channels": 16, "width_mult": 0.25, **options})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        load_weights(network, str(tiny_checkpoint))
    assert "\n" not in str(caught.value)
