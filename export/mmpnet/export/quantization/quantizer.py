"""Static int8 quantization of the network's convolutions, in QDQ form; decoding and NMS stay in float."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import PAD_VALUE
from mmpnet.export.choices import ALLOWED_LOSS, Activations, Calibrator
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
from mmpnet.export.quantization.graph_editor import array, set_array
from mmpnet.export.quantization.saturation import without_saturation
from mmpnet.export.verification.graph_parity import open_graph
from mmpnet.system.progress import Progress, no_progress

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
    allowed_loss: float = ALLOWED_LOSS
    """Largest part of float32's AP that int8 may lose."""
    always: bool = False
    """Whether int8 is kept however accurate and fast it is."""


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
        ir.save(_with_bytes_in(model), source)
        with quiet():
            quant_pre_process(source, self._prepared, skip_symbolic_shape=True)
        prepared = ir.load(self._prepared)
        self._means = input_means(prepared, images, progress)
        names = [(node.op_type, str(node.name)) for node in prepared.graph]
        self.layers = tuple(name for op_type, name in names if op_type == "Conv")
        self._quantizable = [
            name for op_type, name in names if op_type in _QUANTIZED_OPERATORS and NETWORK_SCOPE in name
        ]
        self._pixels = prepared.graph.node(SHIFT_NODE).outputs[0].name

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
        quantized, prepared = ir.load(target), ir.load(self._prepared).graph
        without_saturation(quantized.graph, prepared)
        correct_biases(quantized.graph, prepared, self._means)
        keep_in_float(quantized.graph)
        if self._options.activations == "uint8":
            _remove_pixel_arithmetic(quantized.graph)
        result = ir.to_proto(quantized)
        result.graph.ClearField("value_info")
        drop_unused_domains(result)
        drop_unused_initializers(result)
        return result


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


def _with_bytes_in(model: onnx.ModelProto) -> ir.Model:
    """A copy that subtracts one gray from every channel instead of the mean color, so that a byte is its own code.

    The bias of the first convolution makes up for the difference, except along the border, which is now padded with
    that gray.
    """
    changed = ir.from_proto(model)
    shift = changed.graph.node(SHIFT_NODE)
    (first,) = shift.outputs[0].consumers()
    mean = array(shift.inputs[1]).reshape(-1)  # (3,), in bytes
    kernel, bias = (array(value).astype(np.float64) for value in first.inputs[1:])
    moved = bias + (kernel.sum(axis=(2, 3)) * (PIXEL_ZERO - mean)).sum(axis=1)
    set_array(shift.inputs[1], np.full((1, 1, 1), PIXEL_ZERO, np.float32))
    set_array(first.inputs[2], moved.astype(np.float32))
    return changed


def _remove_pixel_arithmetic(graph: ir.Graph) -> None:
    """Remove the conversion to float, the subtraction and the quantization with scale 1, which undo one another."""
    shift = graph.node(SHIFT_NODE)
    quantize, *others = shift.outputs[0].consumers()
    if others or quantize.op_type != "QuantizeLinear":
        return  # the first convolution computes in float
    cast = shift.predecessors()[0]
    assert cast.inputs[0] is not None
    quantize.outputs[0].replace_all_uses_with(cast.inputs[0])
    graph.remove([cast, shift, quantize], safe=True)


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
