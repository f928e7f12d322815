"""Static int8 quantization of the network's convolutions, in QDQ form; decoding and NMS stay in float."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import PAD_VALUE
from mmpnet.export.graph import INPUT_NAME, NETWORK_SCOPE, drop_unused_domains, drop_unused_initializers
from mmpnet.export.onnx_runtime_tools import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from mmpnet.export.quantization.bias_correction import correct_biases, input_means
from mmpnet.export.quantization.float_layers import keep_in_float
from mmpnet.export.quantization.saturation import without_saturation
from mmpnet.export.verification.graph_parity import open_graph
from mmpnet.system.progress import Progress, no_progress

Activations: TypeAlias = Literal["uint8", "int8"]
Calibrator: TypeAlias = Literal["minmax", "entropy", "percentile"]

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_QUANTIZED_OPERATORS = ("Conv", "Add", "Resize", "Clip")
SHIFT_NODE = "/shift/Sub"
PIXEL_ZERO = PAD_VALUE
"""The byte with which int8 convolutions pad: the gray of the letterbox."""


@dataclass(frozen=True, slots=True)
class QuantizationOptions:
    """How to quantize.

    uint8 activations are fastest on CPUs that multiply them with int8 weights in one instruction (VNNI), and correct on
    every CPU (`mmpnet.export.quantization.saturation`); int8 activations suit ARM.
    """

    activations: Activations = "uint8"
    calibrator: Calibrator = "minmax"
    per_channel: bool = True


class Quantizer:
    """One float graph, calibrated once; `quantized` returns its int8 versions.

    model: a float32 graph with head "boxes" and uint8 input of batch 1.
    images: calibration images (H, W, 3), uint8 BGR, letterboxed.
    folder: for the files of ONNX Runtime's tools.

    Raises: ExportError if there is nothing to calibrate with, or ONNX Runtime cannot calibrate.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        images: Sequence[UInt8Array],
        options: QuantizationOptions,
        folder: Path,
        *,
        progress: Progress = no_progress,
    ) -> None:
        if not images:
            raise ExportError("there are no images to calibrate with; give --calib a data set with images")
        self.images = images
        self._options = options
        self._folder = folder
        self._prepared = folder / "prepared.onnx"
        source = folder / "float.onnx"
        onnx.save(_with_bytes_in(model), source)
        with quiet():
            quant_pre_process(source, self._prepared, skip_symbolic_shape=True)
        prepared = onnx.load(self._prepared)
        self._means = input_means(prepared, images, progress)
        graph = prepared.graph
        self.layers = tuple(node.name for node in graph.node if node.op_type == "Conv")
        self._quantizable = [
            node.name for node in graph.node if node.op_type in _QUANTIZED_OPERATORS and NETWORK_SCOPE in node.name
        ]
        self._pixels = next(node.output[0] for node in graph.node if node.name == SHIFT_NODE)

    def quantized(self, float_layers: Sequence[str] = ()) -> onnx.ModelProto:
        """The graph in int8; the convolutions with these names stay in float.

        Raises: ExportError if ONNX Runtime cannot quantize the graph.
        """
        left_out = set(float_layers)
        target = self._folder / "int8.onnx"
        signed = QuantType.QInt8 if self._options.activations == "int8" else QuantType.QUInt8
        zero = PIXEL_ZERO - (128 if self._options.activations == "int8" else 0)
        pixel = {"scale": np.array(1.0, np.float32), "zero_point": np.array(zero)}
        try:
            with quiet():
                quantize_static(
                    self._prepared,
                    target,
                    CalibrationImages(self.images),
                    quant_format=QuantFormat.QDQ,
                    per_channel=self._options.per_channel,
                    activation_type=signed,
                    weight_type=QuantType.QInt8,
                    nodes_to_quantize=[name for name in self._quantizable if name not in left_out],
                    calibrate_method=_METHODS[self._options.calibrator],
                    calibration_cache_path=self._folder / "ranges.json",
                    # One image at a time; otherwise calibrators with histograms hold all activations of all images.
                    extra_options={"TensorQuantOverrides": {self._pixels: [pixel]}, "CalibStridedMinMax": 1},
                )
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime cannot quantize the graph: {' '.join(str(error).split())[:200]}"
            ) from error
        quantized = onnx.load(target)
        drop_unused_domains(quantized)
        prepared = onnx.load(self._prepared)
        without_saturation(quantized, prepared)
        correct_biases(quantized, prepared, self._means)
        keep_in_float(quantized)
        return _without_pixel_arithmetic(quantized, signed=self._options.activations == "int8")


def layer_errors(quantizer: Quantizer, count: int, *, progress: Progress = no_progress) -> list[tuple[str, float]]:
    """The error of each convolution if it alone is in int8, largest first.

    The error is the largest change of a score, averaged over the first `count` calibration images.
    """
    images = quantizer.images[:count]
    expected = _scores(quantizer.quantized(quantizer.layers), images)
    errors = []
    for layer in progress(quantizer.layers, "error of each layer"):
        found = _scores(quantizer.quantized([name for name in quantizer.layers if name != layer]), images)
        errors.append((layer, float(np.abs(found - expected).max(axis=1).mean())))
    return sorted(errors, key=lambda one: -one[1])


def _scores(model: onnx.ModelProto, images: Sequence[UInt8Array]) -> NDArray[np.float32]:
    """The scores of each image's candidates, best first: (images, K)."""
    session = open_graph(model.SerializeToString())
    return np.stack([session.run(["scores"], {INPUT_NAME: image[None]})[0][0] for image in images])


class CalibrationImages(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibrator one image at a time, from the range that it requests."""

    def __init__(self, images: Sequence[NDArray[Any]]) -> None:
        self._images = images
        self._rest = iter(images)

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._images[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        image = next(self._rest, None)
        return None if image is None else {INPUT_NAME: image[None]}


def _with_bytes_in(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that subtracts one gray from every channel instead of the mean color, so that a byte is its own code.

    The bias of the first convolution makes up for the difference, except along the border, which is now padded with
    that gray.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shift = next(node for node in graph.node if node.name == SHIFT_NODE)
    first = next(node for node in graph.node if shift.output[0] in node.input)
    mean = numpy_helper.to_array(tensors[shift.input[1]]).reshape(-1)  # (3,), in bytes
    kernel, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in first.input[1:])
    moved = bias + (kernel.sum(axis=(2, 3)) * (PIXEL_ZERO - mean)).sum(axis=1)
    gray = np.full((1, 1, 1), PIXEL_ZERO, np.float32)
    tensors[shift.input[1]].CopyFrom(numpy_helper.from_array(gray, shift.input[1]))
    tensors[first.input[2]].CopyFrom(numpy_helper.from_array(moved.astype(np.float32), first.input[2]))
    return changed


def _without_pixel_arithmetic(model: onnx.ModelProto, *, signed: bool) -> onnx.ModelProto:
    """Remove the conversion to float, the subtraction and the quantization with scale 1, which undo one another."""
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    shift = next(node for node in graph.node if node.name == SHIFT_NODE)
    cast = producers[shift.input[0]]
    consumers = [node for node in graph.node if shift.output[0] in node.input]
    if signed or [node.op_type for node in consumers] != ["QuantizeLinear"]:
        return model  # a byte has another code, or the first convolution computes in float
    (quantize,) = consumers
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == quantize.output[0]:
                node.input[index] = cast.input[0]
    for node in (cast, shift, quantize):
        graph.node.remove(node)
    drop_unused_initializers(model)
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the advice and progress that ONNX Runtime's tools print; errors are still raised."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
