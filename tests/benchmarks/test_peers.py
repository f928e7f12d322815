"""peers.py: other detectors behind one interface, models that are only timed, and readable names."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import peers
from harness.peers import contestants
from harness.peers.contestants import Contestant, Entry, collect_entries, open_contestant, parse_entry
from harness.peers.labels import place_names
from mmpnet.contract.errors import MmpnetError
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS


class Net:
    """An ONNX graph that is built node by node, with weights from a seed."""

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
    """YOLOX's outputs for 32 x 32 px."""
    net = Net(0)
    level = net.silu(net.conv("images", net.kernel(8, 3, 3) / np.float32(60), 4))
    rows = []
    for _stride in (8, 16, 32):
        level = net.silu(net.conv(level, net.kernel(8, 8, 3), 2))
        boxes, objectness, classes = (net.conv(level, net.kernel(count, 8, 1) * 2) for count in (4, 1, 80))
        both = net.add("Concat", boxes, net.add("Sigmoid", objectness), net.add("Sigmoid", classes), axis=1)
        rows.append(net.add("Reshape", both, net.constant(np.array([1, 85, -1]))))
    joined = net.add("Transpose", net.add("Concat", *rows, axis=2), perm=[0, 2, 1])
    return net.save(path, joined, (1, 21, 85), 32, opset=11)


def tiny_end_to_end(path: Path, rows: list[list[float]]) -> Path:
    """Gives these (x1, y1, x2, y2, score, class) for every image of 64 x 64 px."""
    net = Net(0)
    nothing = net.add("Mul", net.add("ReduceMean", "images", keepdims=0), net.constant(np.array(0, np.float32)))
    said = net.add("Add", net.constant(np.array([rows], np.float32)), nothing)
    return net.save(path, said, (1, len(rows), 6), 64, opset=13)


def tiny_rtmdet(path: Path, rows: list[list[float]]) -> Path:
    """Gives these (x1, y1, x2, y2, score) for every image of any size."""
    boxes = numpy_helper.from_array(np.array([rows], np.float32), "rows")
    labels = numpy_helper.from_array(np.zeros((1, len(rows)), np.int64), "classes")
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["dets"]),
        helper.make_node("Identity", ["classes"], ["labels"]),
    ]
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"]),
        helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["batch", "num_dets", "columns"]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch", "num_dets"]),
    ]
    graph = helper.make_graph(nodes, "rtmdet", ends[:1], ends[1:], [boxes, labels, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    return path


def opened(path: Path) -> Contestant:
    return open_contestant(Entry(path), threads=1, thresholds=EVALUATION_THRESHOLDS)


def test_what_needs_no_nms_keeps_boxes_that_overlap_best_first(tmp_path: Path) -> None:
    rows = [[8, 8, 24, 56, 0.6, 0], [8, 8, 24, 55, 0.7, 0], [8, 8, 24, 55, 0.9, 16]]
    contestant = opened(tiny_end_to_end(tmp_path / "e2e.onnx", rows))
    found = contestant(np.zeros((128, 128, 3), np.uint8))
    np.testing.assert_allclose(found.xyxy, [[16, 16, 48, 110], [16, 16, 48, 112]])
    np.testing.assert_allclose(found.score, [0.7, 0.6])
    assert contestant.precision == "fp32"


def test_a_file_with_a_free_size_takes_part_at_the_chosen_one(tmp_path: Path) -> None:
    path = tiny_rtmdet(tmp_path / "rtmdet_nano_person.onnx", [[8, 8, 24, 56, 0.6], [8, 8, 24, 55, 0.7]])
    frame = np.zeros((128, 128, 3), np.uint8)
    for side_px in (64, 96):
        entry = parse_entry(f"{path}@{side_px}")
        assert (entry.path, entry.name) == (path, f"rtmdet_nano_person_{side_px}")
        contestant = open_contestant(entry, threads=1, thresholds=EVALUATION_THRESHOLDS)
        assert contestant.input_hw == (side_px, side_px)
        scale = 128 / side_px
        np.testing.assert_allclose(contestant(frame).xyxy[1], np.array([8, 8, 24, 56]) * scale)
    assert parse_entry(str(path)) == Entry(path)


def test_rtmdet_is_there_once_for_each_of_its_sizes(tmp_path: Path) -> None:
    tiny_rtmdet(tmp_path / "rtmdet_nano_person.onnx", [[8, 8, 24, 56, 0.6]])
    entries, absent = collect_entries(tmp_path, [])
    names = [entry.name for entry in entries if entry.path.parent == tmp_path]
    assert names == ["rtmdet_nano_person_320", "rtmdet_nano_person_416"]
    assert absent == ["yolox_nano_416.onnx", "nanodet_m_320.onnx"]


def test_a_file_of_no_known_family_is_refused_in_one_line(tmp_path: Path) -> None:
    net = Net(0)
    path = net.save(tmp_path / "odd.onnx", net.add("Relu", "images"), (1, 3, 64, 64), 64, opset=13)
    with pytest.raises(MmpnetError, match=r"outputs Relu_0 \[1, 3, 64, 64\]; expected"):
        opened(path)
    with pytest.raises(MmpnetError, match="no such model file"):
        opened(tmp_path / "none.onnx")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(peers.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the smallest of our models is compared."""
    monkeypatch.setattr(contestants, "OURS", ("person-224-int8",))


@pytest.mark.usefixtures("one_of_ours")
def test_all_contestants_in_one_run(tmp_path: Path, dataset_folder: Path) -> None:
    peer = tiny_yolox(tmp_path / "tiny.onnx")
    timed = tiny_end_to_end(tmp_path / "yolo26.onnx", [[8, 8, 24, 56, 0.6, 0]])
    given = ("--data", dataset_folder, "--model", peer, "--timed", timed)
    small = ("--limit", 2, "--rounds", 3, "--frame-size", "160x120")
    code, out, err = run(*given, *small, "--figure", tmp_path / "peers.png", "--json")
    assert code == 0, err
    document = json.loads(out)
    rows, name = document["contestants"], document["sets"][0]["name"]
    precisions = {model: row["precision"] for model, row in rows.items()}
    assert precisions == {"person-224-int8": "int8", "tiny": "fp32", "yolo26": "fp32"}
    assert rows["yolo26"]["accuracy"] == {}
    assert rows["yolo26"]["note"] == "no accuracy: timed with the weights in the file"
    assert rows["yolo26"]["one thread"]["end_to_end_ms"] > 0
    assert rows["person-224-int8"]["quantization"]["activations"] == "uint8"
    assert set(rows["tiny"]["accuracy"][name]) == {"AP", "AP50", "AP75", "APs", "APm", "APl"}
    assert document["sets"][0]["images"] == 2
    assert rows["tiny"]["sha256"] == hashlib.sha256(peer.read_bytes()).hexdigest()[:12]
    assert "yolo26: no accuracy" in err
    assert cv2.imread(str(tmp_path / "peers.png")) is not None


@pytest.mark.usefixtures("one_of_ours")
def test_each_set_and_each_source_is_reported_on_its_own(tmp_path: Path, dataset_folder: Path) -> None:
    """The numbers of a source equal those of a dataset with only its images; a source without people has none."""
    labels = json.loads((dataset_folder / "val.json").read_text())
    for number, image in enumerate(labels["images"]):
        image["file_name"] = str(dataset_folder / "images" / image["file_name"])
        image["source"] = "roof" if number % 2 else "yard"
    empty = shutil.copy(labels["images"][0]["file_name"], tmp_path / "empty.png")
    without_persons = {**labels["images"][0], "id": 1000, "source": "empty", "file_name": str(empty)}
    both = {**labels, "images": [*labels["images"], without_persons]}
    roof = {image["id"] for image in labels["images"] if image["source"] == "roof"}
    alone = {
        **labels,
        "images": [image for image in labels["images"] if image["id"] in roof],
        "annotations": [box for box in labels["annotations"] if box["image_id"] in roof],
    }
    for name, content in (("both", both), ("alone", alone)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "val.json").write_text(json.dumps(content))
    sets = ("--data", tmp_path / "both", "--data", tmp_path / "alone")
    code, out, err = run(*sets, "--by-source", tmp_path / "both", "--rounds", 0, "--json")
    assert code == 0, err
    document = json.loads(out)
    names = [(facts["name"], facts["part"], facts["images"]) for facts in document["sets"]]
    assert names == [
        ("both/val.json", None, 7),
        ("both/val.json: empty", "empty", 1),
        ("both/val.json: roof", "roof", 3),
        ("both/val.json: yard", "yard", 3),
        ("alone/val.json", None, 3),
    ]
    accuracy = document["contestants"]["person-224-int8"]["accuracy"]
    assert accuracy["both/val.json: roof"] == accuracy["alone/val.json"]
    assert accuracy["both/val.json: roof"] != accuracy["both/val.json"]
    assert set(accuracy["both/val.json: empty"].values()) == {None}
    assert "one thread" not in document["contestants"]["person-224-int8"]
    assert err.count("both/val.json: roof: 3 images") == 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--rounds", 0, "--figure", "a.png"), 2, "give --rounds"),
        (("--by-source", "absent"), 2, "is none of --data"),
        (("--data", "DATA"), 1, "datasets must have different names"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    flags: tuple[object, ...], code: int, message: str, dataset_folder: Path
) -> None:
    given = [dataset_folder if flag == "DATA" else flag for flag in flags]
    found, _, err = run("--data", dataset_folder, *given)
    assert found == code
    assert message in err


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
    place_names(axes, {name: place[0] for name, place in places.items()} | {"timed": 20.0}, places)
    shown = {text.get_text().strip(): text.get_window_extent() for text in axes.texts if text.get_text()}
    assert shown.keys() == {*places, "timed"}
    boxes: list[Bbox] = list(shown.values())
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    points = axes.transData.transform(list(places.values()))
    assert not any(box.contains(*point) for box in boxes for point in points)
    line = joined.get_transform().transform_path(joined.get_path())
    assert not any(line.intersects_bbox(box, filled=False) for box in boxes)
