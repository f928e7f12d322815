"""An exported file can be trained further: the output is the same, and its batch norms have statistics again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from mmpnet.contract.errors import CheckpointError
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import Architecture, MmpNet
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.onnx_weights import NetworkShape, head_of, reopen_norms, shape_of
from mmpnet.train.network.weights import load_weights
from support.exported import ExportCache
from support.onnx_files import save_unsealed


def some_images(count: int = 6, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def lively(network: MmpNet) -> MmpNet:
    """Batch norms as after training: none of them is the identity."""
    draw = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=draw))
            module.running_var.copy_(torch.rand(module.num_features, generator=draw) + 0.3)
            module.weight.data.copy_(torch.randn(module.num_features, generator=draw))
            module.bias.data.copy_(torch.randn(module.num_features, generator=draw))
    return network.eval()


def test_reopened_norms_compute_the_same_and_know_their_statistics() -> None:
    torch.manual_seed(0)
    network = lively(MmpNet(2, 2, channels=16, width_mult=0.25))
    images = some_images()
    with torch.inference_mode():
        before = network(images)
        reopen_norms(network, torch.split(images, 2))
        after = network(images)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
    # In training mode a norm uses the batch's own statistics, which these are.
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
        trained = network(images)
    torch.testing.assert_close(trained, before, rtol=1e-2, atol=1e-2 * float(before.abs().max()))


def test_reopening_without_images_changes_nothing() -> None:
    network = lively(MmpNet(1, 1, channels=8, width_mult=0.25))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    reopen_norms(network, ())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_an_exported_file_gives_the_output_of_its_checkpoint(
    tiny_checkpoint: Path, tiny_onnx: Path, tiny_model_config: ModelConfig
) -> None:
    network = tiny_model_config.build()
    line = load_weights(network, str(tiny_onnx), head=head_of(tiny_onnx), images=torch.split(some_images(), 3))
    images = some_images(seed=1)
    with torch.inference_mode():
        expected = load_checkpoint(tiny_checkpoint).network()(images)
        torch.testing.assert_close(network.eval()(images), expected, rtol=1e-3, atol=1e-3)
    assert "random" not in line
    assert tiny_onnx.name in line


def test_separate_towers_start_from_a_file_with_one(tiny_checkpoint: Path, tiny_onnx: Path) -> None:
    two = MmpNet(2, 2, channels=16, width_mult=0.25, architecture=Architecture(separate_towers=True)).eval()
    load_weights(two, str(tiny_onnx), head=head_of(tiny_onnx), images=torch.split(some_images(), 3))
    images = some_images(seed=1)
    with torch.inference_mode():
        expected = load_checkpoint(tiny_checkpoint).network()(images)
        torch.testing.assert_close(two(images), expected, rtol=1e-3, atol=1e-3)


def test_other_classes_keep_all_but_the_last_layer(tiny_onnx: Path) -> None:
    network = MmpNet(2, 2, num_classes=5, channels=16, width_mult=0.25)
    fresh = network.predict.weight.clone()
    head = HeadMeaning(("background", "a", "b", "c", "d"), head_of(tiny_onnx).anchors)
    assert "last layer starts at random" in load_weights(network, str(tiny_onnx), head=head)
    assert torch.equal(network.predict.weight, fresh)


def test_rows_of_a_file_move_by_class_name(tiny_checkpoint: Path, tiny_onnx: Path) -> None:
    network = MmpNet(2, 2, num_classes=3, channels=16, width_mult=0.25).eval()
    head = HeadMeaning(("background", "dog", "person"), head_of(tiny_onnx).anchors)
    line = load_weights(network, str(tiny_onnx), head=head, images=torch.split(some_images(), 3))
    assert line == f"weights from {tiny_onnx.name}; in the last layer, dog starts at random"
    images = some_images(seed=1)
    with torch.inference_mode():
        expected = load_checkpoint(tiny_checkpoint).network()(images)
        torch.testing.assert_close(network(images)[:, [0, 2, 3, 4, 5, 6]], expected, rtol=1e-3, atol=1e-3)


def test_the_model_that_ships_can_be_trained_further() -> None:
    shape = shape_of(model_path())
    network = MmpNet(5, 3, channels=shape.channels, architecture=shape.architecture)
    line = load_weights(network, "default", head=head_of(model_path()), images=[some_images(2, 96)])
    assert line == f"weights from {model_path().name}"


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("separate_towers", "tower_depth"), [(False, 1), (True, 2)])
def test_the_shape_of_a_network_is_read_from_the_weights_of_its_file(
    make_checkpoint: Callable[..., Path],
    exported: ExportCache,
    export_options: ExportOptions,
    tmp_path: Path,
    separate_towers: bool,
    tower_depth: int,
    kernel_size: int,
) -> None:
    given = Architecture(separate_towers=separate_towers, tower_depth=tower_depth, kernel_size=kernel_size)
    checkpoint = make_checkpoint(tmp_path / "model.pth", channels=24, **dataclasses.asdict(given))
    assert shape_of(exported(checkpoint, export_options)) == NetworkShape(given, 24, 0.25)


@pytest.mark.parametrize(
    "options", [{"channels": 12}, {"width_mult": 0.5, "channels": 16}, {"stride": 16, "channels": 16}]
)
def test_a_file_of_another_architecture_is_one_line(tiny_onnx: Path, options: dict[str, float]) -> None:
    network = MmpNet(2, 2, **{"width_mult": 0.25, **options})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        load_weights(network, str(tiny_onnx))
    assert "\n" not in str(caught.value)


def test_bad_files_are_one_clear_line(tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    foreign = onnx.load(tiny_onnx)
    del foreign.metadata_props[:]
    save_unsealed(foreign, tmp_path / "foreign.onnx")
    half = onnx.load(tiny_onnx)
    for entry in half.metadata_props:
        entry.value = entry.value.replace('"precision":"float32"', '"precision":"float16"')
    save_unsealed(half, tmp_path / "half.onnx")
    for source, reason in (
        ("absent.onnx", "no such"),
        ("text.onnx", "cannot read"),
        ("foreign.onnx", "mmp-export"),
        ("half.onnx", "float32"),
    ):
        with pytest.raises(CheckpointError, match=source) as caught:
            load_weights(MmpNet(2, 2), str(tmp_path / source))
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
