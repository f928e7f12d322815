"""peers.py: other detectors behind one interface, what is only timed, names that can be read."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import peer_picture
import peers
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from peer_decoders import file_sha256, open_contestant
from typer.testing import CliRunner

from mmpnet.contract.errors import MmpnetError
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS


class Net:
    """An ONNX graph that grows node by node, with seeded weights."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        self.tensors.append(numpy_helper.from_array(value, f"constant{len(self.tensors)}"))
        return f"constant{len(self.tensors) - 1}"

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, kernel: NDArray[np.float32], stride: int = 1) -> str:
        side = kernel.shape[-1]
        bias = self.random.normal(0, 0.1, len(kernel)).astype(np.float32)
        return self.add(
            "Conv", x, self.constant(kernel), self.constant(bias), strides=[stride] * 2, pads=[side // 2] * 4
        )

    def kernel(self, outputs: int, inputs: int, side: int) -> NDArray[np.float32]:
        return self.random.normal(0, 1 / np.sqrt(inputs * side**2), (outputs, inputs, side, side)).astype(np.float32)

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def save(self, path: Path, output: str, shape: tuple[int, ...], side: int, opset: int) -> Path:
        ends = [("images", (1, 3, side, side)), (output, shape)]
        given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in ends)
        graph = helper.make_graph(self.nodes, "net", [given], [found], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def tiny_yolox(path: Path) -> Path:
    """YOLOX's shapes on 32 x 32 px."""
    net = Net(0)
    level = net.silu(net.conv("images", net.kernel(8, 3, 3) / 60, 4))
    rows = []
    for _stride in (8, 16, 32):
        level = net.silu(net.conv(level, net.kernel(8, 8, 3), 2))
        boxes, objectness, classes = (net.conv(level, net.kernel(count, 8, 1) * 2) for count in (4, 1, 80))
        both = net.add("Concat", boxes, net.add("Sigmoid", objectness), net.add("Sigmoid", classes), axis=1)
        rows.append(net.add("Reshape", both, net.constant(np.array([1, 85, -1]))))
    joined = net.add("Transpose", net.add("Concat", *rows, axis=2), perm=[0, 2, 1])
    return net.save(path, joined, (1, 21, 85), 32, opset=11)


def tiny_end_to_end(path: Path, rows: list[list[float]]) -> Path:
    """Says these (x1, y1, x2, y2, score, class) of every picture of 64 x 64 px."""
    net = Net(0)
    nothing = net.add("Mul", net.add("ReduceMean", "images", keepdims=0), net.constant(np.array(0, np.float32)))
    said = net.add("Add", net.constant(np.array([rows], np.float32)), nothing)
    return net.save(path, said, (1, len(rows), 6), 64, opset=13)


def test_what_needs_no_nms_keeps_boxes_that_overlap_best_first(tmp_path: Path) -> None:
    said = [[8, 8, 24, 56, 0.6, 0], [8, 8, 24, 55, 0.7, 0], [8, 8, 24, 55, 0.9, 16]]
    contestant = open_contestant(
        tiny_end_to_end(tmp_path / "e2e.onnx", said), threads=1, thresholds=EVALUATION_THRESHOLDS
    )
    found = contestant(np.zeros((128, 128, 3), np.uint8))
    np.testing.assert_allclose(found.xyxy, [[16, 16, 48, 110], [16, 16, 48, 112]])
    np.testing.assert_allclose(found.score, [0.7, 0.6])
    assert contestant.precision == "fp32"


def test_a_file_of_no_known_family_is_refused_in_one_line(tmp_path: Path) -> None:
    net = Net(0)
    path = net.save(tmp_path / "odd.onnx", net.add("Relu", "images"), (1, 3, 64, 64), 64, opset=13)
    with pytest.raises(MmpnetError, match=r"outputs Relu_0 \[1, 3, 64, 64\]; expected"):
        open_contestant(path, threads=1, thresholds=EVALUATION_THRESHOLDS)
    with pytest.raises(MmpnetError, match="no such model file"):
        open_contestant(tmp_path / "none.onnx", threads=1, thresholds=EVALUATION_THRESHOLDS)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(peers.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_everybody_in_one_run(tmp_path: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "OURS", ("person-224-int8",))
    peer = tiny_yolox(tmp_path / "tiny.onnx")
    timed = tiny_end_to_end(tmp_path / "yolo26.onnx", [[8, 8, 24, 56, 0.6, 0]])
    given = ("--data", dataset_folder, "--model", peer, "--timed", timed)
    small = ("--limit", 2, "--rounds", 3, "--frame-size", "160x120")
    code, out, err = run(*given, *small, "--picture", tmp_path / "pareto.png", "--json")
    assert code == 0, err
    rows = json.loads(out)["contestants"]
    precisions = {name: row["precision"] for name, row in rows.items()}
    assert precisions == {"person-224-int8": "int8", "tiny": "fp32", "yolo26": "fp32"}
    assert rows["yolo26"]["AP"] is None
    assert rows["yolo26"]["note"] == "no accuracy: timed with what weights the file has"
    assert rows["yolo26"]["one thread"]["end_to_end_ms"] > 0
    assert rows["person-224-int8"]["quantization"]["activations"] == "uint8"
    assert rows["tiny"]["n_images"] == 2
    assert rows["tiny"]["sha256"] == file_sha256(peer)[:12]
    assert "yolo26: no accuracy" in err
    assert cv2.imread(str(tmp_path / "pareto.png")) is not None


def test_two_contestants_of_one_name_are_refused(tmp_path: Path, dataset_folder: Path) -> None:
    path = tiny_end_to_end(tmp_path / "same.onnx", [[8, 8, 24, 56, 0.6, 0]])
    code, _, err = run("--data", dataset_folder, "--model", path, "--timed", path)
    assert code == 1
    assert "must have different names" in err


def test_names_of_crowded_points_overlap_nothing() -> None:
    axes = Figure(figsize=(8, 5), dpi=130).add_subplot()
    places = {"nanodet_m_320": (15.6, 0.656), "nanodet_m_320-int8": (12.1, 0.655), "person-320-int8": (13.7, 0.653)}
    places |= {"person-320": (16.2, 0.654), "yolox": (22.0, 0.738)}
    for place in places.values():
        axes.plot(*place, "o")
    (joined,) = axes.plot([12.1, 15.6], [0.655, 0.656])
    axes.set_xlim(0, 26)
    peer_picture._name(axes, {name: place[0] for name, place in places.items()} | {"timed": 20.0}, places)
    shown = {text.get_text().strip(): text.get_window_extent() for text in axes.texts if text.get_text()}
    assert shown.keys() == {*places, "timed"}
    boxes: list[Bbox] = list(shown.values())
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    points = axes.transData.transform(list(places.values()))
    assert not any(box.contains(*point) for box in boxes for point in points)
    line = joined.get_transform().transform_path(joined.get_path())
    assert not any(line.intersects_bbox(box, filled=False) for box in boxes)
