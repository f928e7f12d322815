"""Int8 kernels that cannot saturate 16 bits, and biases corrected by the error of rounding."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper

from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.open import open_dataset
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization import quantizer as quantize
from mmpnet.export.quantization.bias_correction import correct_biases, input_means
from mmpnet.export.quantization.graph_editor import array as constant
from mmpnet.export.quantization.graph_editor import convolutions, dequantized, is_depthwise
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.quantization.saturation import LARGEST_PAIR, largest_pairs, without_saturation
from mmpnet.export.quantization.search import calibration_images
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from support.exported import ExportCache

Images = list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]


@pytest.fixture(scope="module")
def float_model(exported: ExportCache, tiny_checkpoint: Path) -> onnx.ModelProto:
    options = ExportOptions((64, 96), 1, 13, conf=0.3, self_test_seeds=8)
    return onnx.load(exported(tiny_checkpoint, options))


@pytest.fixture(scope="module")
def images(dataset_folder: Path) -> Images:
    return calibration_images(open_dataset(dataset_folder, "train"), Letterbox((64, 96)))


def worst_pair(model: onnx.ModelProto) -> float:
    """The largest pair of all kernels with several input channels."""
    sources = [dequantized(node) for node in convolutions(ir.from_proto(model).graph)]
    kernels = [constant(found[1].inputs[0]) for found in sources if found is not None]
    assert kernels
    return max(float(largest_pairs(kernel.astype(np.float32)).max()) for kernel in kernels if not is_depthwise(kernel))


@settings(deadline=None)
@given(arrays(np.int8, st.tuples(*[st.integers(1, 4)] * 4)))
def test_neighbors_are_ordered_by_tap_and_then_by_channel(
    kernel: np.ndarray[tuple[int, ...], np.dtype[np.int8]],
) -> None:
    for row, found in zip(kernel, largest_pairs(kernel), strict=True):
        channels, height, width = row.shape
        numbers = [int(row[c, y, x]) for y in range(height) for x in range(width) for c in range(channels)]
        pairs = list(zip(numbers, [*numbers[1:], 0], strict=True))
        positive = [max(a, 0) + max(b, 0) for a, b in pairs]
        negative = [max(-a, 0) + max(-b, 0) for a, b in pairs]
        assert found == max(positive + negative)


@settings(deadline=None)
@given(arrays(np.int8, 2, elements=st.integers(-128, 127)), arrays(np.uint8, 2))
def test_pairs_up_to_128_fit_into_16_bits(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]], pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    total = int(weights.astype(int) @ pixels.astype(int))
    if largest_pairs(weights.reshape(1, 2, 1, 1))[0] <= LARGEST_PAIR:
        assert -(2**15) <= total < 2**15


@pytest.mark.parametrize("per_channel", [True, False])
def test_no_kernel_saturates_unlike_those_of_onnx_runtime(
    float_model: onnx.ModelProto, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_channel: bool
) -> None:
    quantizer = Quantizer(float_model, images, QuantizationOptions(per_channel=per_channel), tmp_path)
    model = quantizer.quantized()
    assert worst_pair(model) <= LARGEST_PAIR
    assert worst_pair(rearrange(model)) <= LARGEST_PAIR
    monkeypatch.setattr(quantize, "without_saturation", lambda *_: None)
    assert worst_pair(quantizer.quantized()) > LARGEST_PAIR


def test_integer_kernels_of_this_cpu_agree_with_float32(
    float_model: onnx.ModelProto, images: Images, tmp_path: Path
) -> None:
    """Without optimizations, ONNX Runtime computes the same graph in float32, node by node."""
    model = Quantizer(float_model, images, QuantizationOptions(), tmp_path).quantized().SerializeToString()
    found = []
    for level in (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    ):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(model, options)
        white = np.full_like(images[0], 255)
        found.append([session.run(["scores"], {"images": image[None]})[0] for image in (white, *images[:3])])
    for fast, slow in zip(*found, strict=True):
        np.testing.assert_allclose(np.sort(fast), np.sort(slow), atol=0.03)


@pytest.mark.parametrize("name", [name for name in EMBEDDED_MODELS if name.endswith("int8")])
def test_the_shipped_files_cannot_saturate(name: str) -> None:
    assert worst_pair(onnx.load(model_path(name))) <= LARGEST_PAIR


def one_convolution(kernel: np.ndarray, scale: float) -> tuple[ir.Model, ir.Model]:
    """The float graph of one convolution, and its int8 graph; the biases are 1, the images (1, I, 4, 4)."""
    outputs, groups = len(kernel), (len(kernel) if is_depthwise(kernel) else 1)
    shape = [1, len(kernel) if is_depthwise(kernel) else kernel.shape[1], 4, 4]
    values: dict[str, np.ndarray] = {
        "kernel": kernel.astype(np.float32),
        "bias": np.ones(outputs, np.float32),
        "pixel_scale": np.array(0.5, np.float32),
        "pixel_zero": np.array(0, np.uint8),
        "codes": np.rint(kernel / scale).astype(np.int8),
        "scales": np.full(outputs, scale, np.float32),
        "zeros": np.zeros(outputs, np.int8),
        "bias_codes": np.rint(np.ones(outputs) / (0.5 * scale)).astype(np.int32),
        "bias_scales": np.full(outputs, 0.5 * scale, np.float32),
        "bias_zeros": np.zeros(outputs, np.int32),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    name = "/network/only/Conv"
    conv = helper.make_node("Conv", ["images", "kernel", "bias"], ["output"], name, group=groups)
    int8 = [
        helper.make_node("QuantizeLinear", ["images", "pixel_scale", "pixel_zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "pixel_scale", "pixel_zero"], ["pixels"]),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weights"], axis=0),
        helper.make_node("DequantizeLinear", ["bias_codes", "bias_scales", "bias_zeros"], ["biases"], axis=0),
        helper.make_node("Conv", ["pixels", "weights", "biases"], ["output"], name, group=groups),
    ]
    models = [
        helper.make_model(
            helper.make_graph(nodes, "one", [image], [result], tensors),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=7,
        )
        for nodes in ([conv], int8)
    ]
    return ir.from_proto(models[0]), ir.from_proto(models[1])


def means_of(model: ir.Model, images: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    outputs = [session.run(None, {"images": image[None]})[0] for image in images]
    mean: np.ndarray = np.mean(outputs, axis=(0, 1, 3, 4))
    return mean


@pytest.mark.parametrize("shape", [(5, 4, 1, 1), (4, 1, 3, 3)])
def test_corrected_biases_restore_the_mean_of_each_channel(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    kernel = random.uniform(0.1, 1.1, shape)
    prepared, int8 = one_convolution(kernel, scale=0.25)  # a coarse scale, so that rounding has a large effect
    channels = 4
    base = random.integers(0, 100, (1, channels, 1, 1)) / 2
    images = [np.broadcast_to(base + shift, (1, channels, 4, 4)).astype(np.float32)[0] for shift in (0.0, 1.0, 2.0)]
    expected = means_of(prepared, images)
    assert np.abs(means_of(int8, images) - expected).max() > 1
    means = input_means(prepared, images)
    np.testing.assert_allclose(means["images"], base[0, :, 0, 0] + 1)
    correct_biases(int8.graph, prepared.graph, means)
    np.testing.assert_allclose(means_of(int8, images), expected, atol=0.5 * 0.25 * 0.51)


def test_kernels_are_quantized_again_only_where_they_could_saturate() -> None:
    kernel = np.array([[1.0, 0.9, 0.1, 0.0], [1.0, 0.001, -1.0, 0.0], [-1.0, -1.0, 0.5, 0.25]]).reshape(3, 4, 1, 1)
    prepared, int8 = one_convolution(kernel, scale=1 / 127)
    without_saturation(int8.graph, prepared.graph)
    values = {name: constant(value) for name, value in int8.graph.initializers.items()}
    scales, bias_scales = (values[name].astype(np.float64) for name in ("scales", "bias_scales"))
    np.testing.assert_allclose(scales, np.array([1.9 / 128, 1 / 127, 2 / 128]), rtol=1e-6)
    codes = values["codes"].reshape(3, 4)
    np.testing.assert_array_equal(codes, [[67, 61, 7, 0], [127, 0, -127, 0], [-64, -64, 32, 16]])
    np.testing.assert_allclose(bias_scales, scales * 0.5)
    bias_codes = values["bias_codes"].astype(np.float64)
    np.testing.assert_allclose(bias_codes * bias_scales, np.ones(3), atol=0.01)
