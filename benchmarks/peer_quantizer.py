"""One peer's float32 graph, prepared, calibrated once, and quantised in several ways for peer_int8.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from peer_decoders import open_contestant
from rich.progress import track

from mmpnet.console.command import people
from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS
from mmpnet.export.graph import INPUT_NAME, NETWORK_SCOPE, drop_unused_domains
from mmpnet.export.quantization.bias_correction import correct_biases, input_means
from mmpnet.export.quantization.graph_editor import GraphEditor
from mmpnet.export.quantization.quantizer import CalibrationPictures, quiet
from mmpnet.export.quantization.saturation import without_saturation

OPSET = 13
"""The first whose QuantizeLinear knows channels."""
CALIBRATORS = {
    "percentile 99.99": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
    "minmax": (CalibrationMethod.MinMax, {}),
}
DEAD = 1e-8
"""Of a kernel's largest weight: a row without a larger one than this computes nothing."""
ERROR_PICTURES = 4
TOP_SCORES = 20


class PeerQuantizer:
    """One float graph and its calibration pictures; `quantized` gives its int8 versions.

    The prepared graph has the names that mmpnet.export's own have, so that its tools know their way about it.
    """

    def __init__(self, source: Path, calibration: Dataset, work: Path) -> None:
        self.source = source
        self.calibration = calibration
        self.work = work
        self.prepared_path = work / "prepared.onnx"
        self.prepared = _prepared(source, self.prepared_path)
        self.after_convolutions = after_convolutions(self.prepared.graph)
        feed = open_contestant(source, threads=0, thresholds=EVALUATION_THRESHOLDS).feed
        if feed is None:
            raise ExportError(f"{source}: is a file of mmp-export; expected a peer's")
        self._inputs: list[FloatArray] = [
            next(iter(feed(picture.read()).values()))[0] for picture in calibration.pictures
        ]
        self._means = input_means(self.prepared, self._inputs)  # type: ignore[arg-type]

    def quantized(self, calibrator: str, kernels: str, float_layers: Sequence[str]) -> onnx.ModelProto:
        """int8, but for these nodes and what comes after the last convolutions."""
        method, options = CALIBRATORS[calibrator]
        target = self.work / "int8.onnx"
        with quiet():
            quantize_static(
                self.prepared_path,
                target,
                CalibrationPictures(self._inputs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=kernels == "7 bits",
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*self.after_convolutions, *float_layers],
                calibrate_method=method,
                calibration_cache_path=self.work / f"{calibrator}.json",
                # One picture at a time: otherwise the histograms hold every map of all of them.
                extra_options={"CalibStridedMinMax": 1, **options},
            )
        model = onnx.load(target)
        drop_unused_domains(model)
        if kernels != "7 bits":
            without_saturation(model, self.prepared)
        correct_biases(model, self.prepared, self._means)
        return model

    def worst_tensors(self, quantized: onnx.ModelProto) -> list[str]:
        """The float graph's tensors by the change of the scores that rounding each alone brings, largest first."""
        shown = [
            picture for picture in self.calibration.pictures if len(picture.boxes_xyxy)
        ] or self.calibration.pictures
        frames = [picture.read() for picture in shown[:ERROR_PICTURES]]
        expected = top_scores(self.prepared_path, frames)
        produced = {name for node in self.prepared.graph.node for name in node.output}
        rounding = [n for n in quantized.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in produced]
        errors = {}
        one = self.work / "one.onnx"
        for node in track(rounding, "error of each tensor", console=people(), transient=True):
            onnx.save(_with_one_rounded(self.prepared, node, GraphEditor(quantized)), one)
            errors[node.input[0]] = float(np.abs(top_scores(one, frames) - expected).max(axis=1).mean())
        return sorted(errors, key=lambda tensor: -errors[tensor])

    def float_layers(self, tensors: Sequence[str]) -> list[str]:
        """Names of the nodes that must be in float, for these tensors to be."""
        kept = set(tensors)
        return [n.name for n in self.prepared.graph.node if kept & {*n.input, *n.output}]


def after_convolutions(graph: onnx.GraphProto) -> list[str]:
    """The nodes that no convolution comes after: sigmoids of scores, concatenation, decoding, by name."""
    names, towards_convolutions = [], set[str]()
    for node in reversed(graph.node):
        if node.op_type == "Conv" or towards_convolutions & set(node.output):
            towards_convolutions.update(node.input)
        else:
            names.append(node.name)
    return names


def _prepared(source: Path, path: Path) -> onnx.ModelProto:
    """The graph folded, with its shapes, in an opset with QuantizeLinear by channel; `path` has it too."""
    model = onnx.load(source)
    if max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < OPSET:
        model = version_converter.convert_version(model, OPSET)
    onnx.save(model, path)
    with quiet():
        quant_pre_process(path, path, skip_symbolic_shape=True)
    prepared = onnx.load(path)
    graph = prepared.graph
    old_input, graph.input[0].name = graph.input[0].name, INPUT_NAME
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        node.name = f"{NETWORK_SCOPE}{node.name or f'{node.op_type}_{index}'}"
        for at, name in enumerate(node.input):
            node.input[at] = INPUT_NAME if name == old_input else name
        if node.op_type == "Conv" and node.input[1] in tensors:
            kernel = _without_dead_channels(numpy_helper.to_array(tensors[node.input[1]]))
            tensors[node.input[1]].CopyFrom(numpy_helper.from_array(kernel, node.input[1]))
            if len(node.input) == 2:  # bias correction wants one to correct
                node.input.append(f"{node.name}/bias")
                zeros = np.zeros(len(kernel), np.float32)
                graph.initializer.append(numpy_helper.from_array(zeros, node.input[2]))
    onnx.save(prepared, path)
    return prepared


def _without_dead_channels(kernel: NDArray[Any]) -> NDArray[Any]:
    """Rows of 1e-18, which training gave up, as zeros: with such scales no bias fits 32 bits."""
    largest = np.abs(kernel).max(axis=tuple(range(1, kernel.ndim)), keepdims=True)
    return np.where(largest < DEAD * largest.max(), np.zeros_like(kernel), kernel)


def _with_one_rounded(prepared: onnx.ModelProto, rounding: onnx.NodeProto, int8: GraphEditor) -> onnx.ModelProto:
    """The float graph with one tensor through the codes that a QuantizeLinear of the int8 graph gives it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(prepared)
    editor, tensor = GraphEditor(changed), rounding.input[0]
    producer = editor.producer(tensor)
    assert producer is not None
    code = [
        editor.set_value(f"rounded/{part}", int8.value(name))
        for part, name in zip("sz", rounding.input[1:], strict=True)
    ]
    editor.reconnect(tensor, "rounded")
    editor.insert_after(
        producer,
        helper.make_node("QuantizeLinear", [tensor, *code], ["rounded/codes"], name="rounded/quantize"),
        helper.make_node("DequantizeLinear", ["rounded/codes", *code], ["rounded"], name="rounded/dequantize"),
    )
    return changed


def top_scores(path: Path, frames: Sequence[UInt8Array]) -> NDArray[np.float64]:
    """The 20 best scores in each frame, best first, 0 where there are no more -> (frames, 20)."""
    contestant = open_contestant(path, threads=0, thresholds=EVALUATION_THRESHOLDS)
    scores = np.zeros((len(frames), TOP_SCORES))
    for row, frame in zip(scores, frames, strict=True):
        found = contestant(frame).score[:TOP_SCORES]
        row[: len(found)] = found
    return scores
