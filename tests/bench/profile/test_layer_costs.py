"""The per-layer costs equal those counted by hand, and those of torch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mmpnet.bench.profile.layer_costs import read_layers
from mmpnet.contract.errors import ContractError
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.model import MmpNet
from mmpnet.train.network.onnx_weights import shape_of
from support.onnx_files import save_unsealed

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """(nodes, weights, input shape, output name, input type) -> path of an ONNX file with input `x`."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        weights: dict[str, np.ndarray],
        shape: Sequence[int | str],
        output: str = "y",
        kind: int = TensorProto.FLOAT,
        output_kind: int = TensorProto.FLOAT,
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info("x", kind, list(shape))],
            [helper.make_tensor_value_info(output, output_kind, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        path = tmp_path / "model.onnx"
        save_unsealed(model, path)
        return path

    return write


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def torch_multiply_adds(network: nn.Module, input_hw: tuple[int, int]) -> int:
    """Multiply-adds of every convolution, counted per output value."""
    counts: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        rows, cols = layer.kernel_size
        counts.append(output[0].numel() * rows * cols * layer.in_channels // layer.groups)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, *input_hw))
    return sum(counts)


def folded_parameters(network: nn.Module) -> int:
    """Kernels and biases after folding: of a batch norm's two values per channel, one remains, the new bias."""
    norms = sum(layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    return sum(parameter.numel() for parameter in network.parameters()) - norms


def test_the_exercise_convolution_is_counted_as_on_paper(save: Save) -> None:
    """48x64x10 through 3x3x10x20 without padding: 46x62x20, 1,820 parameters, about 5 million multiplications."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")
    path = save([node], {"w": zeros(20, 10, 3, 3), "b": zeros(20)}, (1, 10, 48, 64))
    (layer,) = read_layers(path)
    assert (layer.name, layer.op) == ("conv", "Conv")
    assert layer.output_shape == (1, 20, 46, 62)
    assert layer.parameters == 3 * 3 * 10 * 20 + 20 == 1820
    assert layer.multiply_adds == 46 * 62 * 20 * 3 * 3 * 10 == 5_133_600


def test_grouped_and_transposed_convolutions(save: Save) -> None:
    depthwise = helper.make_node("Conv", ["x", "w"], ["h"], group=8, pads=[1, 1, 1, 1])
    up = helper.make_node("ConvTranspose", ["h", "u"], ["y"], strides=[2, 2])
    path = save([depthwise, up], {"w": zeros(8, 1, 3, 3), "u": zeros(8, 4, 2, 2)}, (1, 8, 6, 5))
    first, second = read_layers(path)
    assert (first.parameters, first.multiply_adds) == (72, 8 * 6 * 5 * 9)
    assert second.output_shape == (1, 4, 12, 10)
    # Without overlap, every output value comes from one input cell: 8 multiplications.
    assert (second.parameters, second.multiply_adds) == (8 * 4 * 2 * 2, 4 * 12 * 10 * 8)


@pytest.mark.parametrize("transposed", [0, 1])
def test_matrix_products(save: Save, transposed: int) -> None:
    """A product of two computed matrices has multiplications but no parameters."""
    weights = {"g": zeros(7, 5) if transposed else zeros(5, 7), "b": zeros(7), "m": zeros(7, 4), "left": zeros(6, 3)}
    nodes = [
        helper.make_node("Gemm", ["x", "g", "b"], ["h"], transB=transposed),  # (3, 7)
        helper.make_node("MatMul", ["h", "m"], ["k"]),  # (3, 4)
        helper.make_node("Transpose", ["k"], ["t"]),  # (4, 3)
        helper.make_node("MatMul", ["k", "t"], ["s"]),  # (3, 3)
        helper.make_node("MatMul", ["left", "s"], ["y"]),  # (6, 3)
    ]
    layers = [layer for layer in read_layers(save(nodes, weights, (3, 5))) if layer.op != "Transpose"]
    assert [layer.multiply_adds for layer in layers] == [3 * 5 * 7, 3 * 7 * 4, 3 * 4 * 3, 6 * 3 * 3]
    assert [layer.parameters for layer in layers] == [42, 28, 0, 18]


def test_operators_without_weights_cost_nothing_here(save: Save) -> None:
    nodes = [helper.make_node("Mul", ["x", "s"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    layers = read_layers(save(nodes, {"s": zeros(1)}, (1, 3, 4, 4)))
    assert [layer.op for layer in layers] == ["Mul", "Relu"]
    assert {(layer.parameters, layer.multiply_adds) for layer in layers} == {(0, 0)}


def test_an_unfolded_batch_norm_has_two_parameters_a_channel(save: Save) -> None:
    names = ["scale", "bias", "mean", "var"]
    node = helper.make_node("BatchNormalization", ["x", *names], ["y"])
    (layer,) = read_layers(save([node], {name: zeros(6) for name in names}, (1, 6, 2, 2)))
    assert layer.parameters == 12


def test_quantized_convolutions_count_as_their_float_ones(save: Save) -> None:
    """QLinearConv holds its kernel; in a QDQ file the kernel is in the DequantizeLinear before the convolution."""
    kernel = np.zeros((4, 3, 3, 3), np.int8)
    common = {
        "w": kernel,
        "one": np.ones((), np.float32),
        "zero_u": np.zeros((), np.uint8),
        "zero_i": np.zeros((), np.int8),
    }
    fused_inputs = ["x", "one", "zero_u", "w", "one", "zero_i", "one", "zero_u", "b"]
    fused = helper.make_node("QLinearConv", fused_inputs, ["y"])
    weights = {**common, "b": np.zeros(4, np.int32)}
    path = save([fused], weights, (1, 3, 8, 8), kind=TensorProto.UINT8, output_kind=TensorProto.UINT8)
    (layer,) = read_layers(path)
    assert (layer.parameters, layer.multiply_adds) == (108 + 4, 4 * 6 * 6 * 27)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero_u"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero_u"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "zero_i"], ["k"], name="kernel"),
        helper.make_node("Conv", ["d", "k"], ["y"], name="conv"),
    ]
    layers = read_layers(save(nodes, common, (1, 3, 8, 8)))
    assert {layer.name: layer.parameters for layer in layers if layer.parameters} == {"kernel": 108}
    assert sum(layer.multiply_adds for layer in layers) == 4 * 6 * 6 * 27


def test_half_precision_kernels_are_counted_once_and_indices_never(save: Save) -> None:
    nodes = [
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "f"], ["y"]),
    ]
    weights = {"w": np.zeros((4, 3, 3, 3), np.float16), "i": np.ones(1, np.int64)}
    path = save(nodes, weights, (1, 3, 8, 8), kind=TensorProto.FLOAT16, output_kind=TensorProto.FLOAT16)
    layers = read_layers(path)
    assert sum(layer.parameters for layer in layers) == 108
    assert sum(layer.multiply_adds for layer in layers) == 4 * 6 * 6 * 27


def test_free_sizes_are_requested_and_used(save: Save) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = save([node], {"w": zeros(2, 3, 1, 1)}, ("batch", 3, "height", "width"))
    with pytest.raises(ContractError, match=r"batch, 3, height, width.*--imgsz"):
        read_layers(path)
    (layer,) = read_layers(path, input_hw=(6, 4))
    assert layer.output_shape == (1, 2, 6, 4)
    path = save([node], {"w": zeros(2, 3, 1, 1)}, (1, "c", "height", "width"))
    with pytest.raises(ContractError, match="fixed size"):
        read_layers(path, input_hw=(6, 4))


def test_a_file_that_does_not_run_on_its_input_is_one_line(save: Save) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = save([node], {"shape": np.array([7, -1], np.int64)}, ("n", 5))
    with pytest.raises(ContractError, match="cannot run it on zeros"):
        read_layers(path)


def test_exported_network_agrees_with_torch_layer_for_layer(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    network = checkpoint.network()
    layers = read_layers(tiny_onnx)
    assert sum(layer.multiply_adds for layer in layers) == torch_multiply_adds(network, checkpoint.model.input_hw)
    assert sum(layer.parameters for layer in layers) == folded_parameters(network)
    convolutions = [layer for layer in layers if layer.op == "Conv"]
    assert len(convolutions) == sum(isinstance(layer, nn.Conv2d) for layer in network.modules())


def test_the_embedded_model_has_the_totals_that_the_documents_state() -> None:
    anchors = Detector(provider="cpu").metadata.anchors
    shape = shape_of(model_path())
    assert (shape.architecture.separate_towers, shape.architecture.tower_depth) == (True, 2)
    network = MmpNet(
        len(anchors.sizes_px), len(anchors.aspect_ratios), channels=shape.channels, architecture=shape.architecture
    )
    layers = read_layers(model_path())
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_937_274
    assert sum(layer.parameters for layer in layers) == folded_parameters(network) == 1_919_866
    assert sum(layer.multiply_adds for layer in layers) == torch_multiply_adds(network, (320, 320)) == 681_430_400


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not\nONNX")
    with pytest.raises(ContractError, match=r"model\.onnx: ONNX Runtime cannot open it without optimization \(.+\)$"):
        read_layers(path)


@pytest.mark.parametrize("written", ['[{"cat": "Node"}]', '[{"cat": "Node", "name": "conv_kernel_time", "args": {}}]'])
def test_a_profile_in_another_form_is_one_line(save: Save, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """A profile of another ONNX Runtime version may have an event without a name, or a kernel without shapes."""
    path = save([helper.make_node("Relu", ["x"], ["y"])], {}, (1, 3, 4, 4))
    end_profiling = onnxruntime.InferenceSession.end_profiling

    def end_otherwise(session: onnxruntime.InferenceSession) -> str:
        profile = end_profiling(session)
        Path(profile).write_text(written)
        return str(profile)

    monkeypatch.setattr(onnxruntime.InferenceSession, "end_profiling", end_otherwise)
    with pytest.raises(
        ContractError, match=r"the profile of ONNX Runtime .+ cannot be read \(.+missing required field"
    ):
        read_layers(path)
