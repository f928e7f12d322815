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


def write_rtmdet_with_maps(path: Path, *, side: int | str = "side_px", branches: int = 2) -> Path:
    """A network with RTMDet's input and output, which finds nobody, and whose random maps of 4 channels and strides 8,
    16 and 32 are each read by `branches` convolutions."""
    generator = np.random.default_rng(0)
    nodes, weights, last = [], [], "input"
    for stride, (channels, kernel) in zip((8, 16, 32), ((3, 8), (4, 2), (4, 2)), strict=True):
        down = generator.normal(size=(4, channels, kernel, kernel)).astype(np.float32) / (channels * kernel**2)
        weights.append(numpy_helper.from_array(down, f"down{stride}"))
        strides = [kernel, kernel]
        nodes.append(helper.make_node("Conv", [last, f"down{stride}"], [f"map{stride}"], strides=strides))
        weights.append(numpy_helper.from_array(np.zeros((1, 4, 1, 1), np.float32), f"branch{stride}"))
        nodes += [
            helper.make_node("Conv", [f"map{stride}", f"branch{stride}"], [f"branch{stride}_{branch}"])
            for branch in range(branches)
        ]
        last = f"map{stride}"
    nodes += [
        helper.make_node("Identity", ["no_boxes"], ["dets"]),
        helper.make_node("Identity", ["no_labels"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "rtmdet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, side, side])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["batch", "num_dets", "columns"]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch", "num_dets"]),
        ],
        [
            *weights,
            numpy_helper.from_array(np.zeros((1, 0, 5), np.float32), "no_boxes"),
            numpy_helper.from_array(np.zeros((1, 0), np.int64), "no_labels"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
