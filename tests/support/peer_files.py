"""ONNX files in the formats of third-party detectors, with fixed detections."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmpnet.contract.arrays import FloatArray

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
"""Cells of YOLOX's three grids for SIDE x SIDE px."""


def write_yolox(path: Path, output: FloatArray, *, batch: int | str = 1, channels: int = 3) -> Path:
    """A network with YOLOX's input and output that gives the same output for every image."""
    value = numpy_helper.from_array(output[None], "answer")
    # The input is used, multiplied by zero, so that the graph keeps it.
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, channels, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, *output.shape])],
        [value, numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_rtmdet(path: Path, boxes: list[list[float]]) -> Path:
    """A network with RTMDet's free input and its output after NMS: boxes xyxy and score, all of them people, in px of
    an input of SIDE; for other sizes they scale with the input."""
    rows = np.array(boxes, np.float32).reshape(1, -1, 5)
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"], start=2, end=3),
        helper.make_node("Cast", ["shape"], ["height"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["height", "per_px"], ["growth"]),
        helper.make_node("Mul", ["corners", "growth"], ["grown"]),
        helper.make_node("Concat", ["grown", "scores"], ["dets"], axis=2),
        helper.make_node("Identity", ["none"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "rtmdet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height_px", "width_px"])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["batch", "num_dets", "columns"]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch", "num_dets"]),
        ],
        [
            numpy_helper.from_array(np.array([1 / SIDE], np.float32), "per_px"),
            numpy_helper.from_array(rows[..., :4], "corners"),
            numpy_helper.from_array(rows[..., 4:], "scores"),
            numpy_helper.from_array(np.zeros(rows.shape[:2], np.int64), "none"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
