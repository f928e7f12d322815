"""The weights that a run may start from, and those that are refused."""

from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from mmpnet.contract.errors import CheckpointError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import Architecture, MmpNet
from mmpnet.train.network.weights import load_weights


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
    line = load_weights(network, str(tiny_checkpoint))
    for name, tensor in load_checkpoint(tiny_checkpoint).ema.items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert "random" not in line


def test_other_classes_start_with_a_fresh_last_layer(tiny_checkpoint: Path) -> None:
    torch.manual_seed(0)
    network = MmpNet(2, 2, num_classes=5, channels=16, width_mult=0.25)
    fresh = network.predict.weight.clone()
    line = load_weights(network, str(tiny_checkpoint))
    trained = load_checkpoint(tiny_checkpoint).ema
    assert torch.equal(network.predict.weight, fresh)
    assert torch.equal(network.state_dict()["tower.0.weight"], trained["tower.0.weight"])
    assert "last layer starts at random" in line


def test_separate_towers_start_with_the_output_of_the_one_tower(tiny_checkpoint: Path) -> None:
    one = load_checkpoint(tiny_checkpoint).network()
    two = MmpNet(2, 2, channels=16, width_mult=0.25, architecture=Architecture(separate_towers=True)).eval()
    load_weights(two, str(tiny_checkpoint))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(two(images), one(images))


@pytest.mark.parametrize("options", [{"channels": 24}, {"width_mult": 0.5, "channels": 16}, {"stride": 16}])
def test_a_checkpoint_of_another_architecture_is_one_line(tiny_checkpoint: Path, options: dict[str, float]) -> None:
    network = MmpNet(2, 2, **{"channels": 16, "width_mult": 0.25, **options})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        load_weights(network, str(tiny_checkpoint))
    assert "\n" not in str(caught.value)
