"""peers.py: other people's outputs decoded by hand, their int8 versions, what is only timed, names that can be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import peer_int8
import peer_picture
import peer_quantizer
import peers
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from peer_decoders import Family, family_of, file_sha256, open_contestant, yolo_pixels
from typer.testing import CliRunner

from mmpnet.contract.errors import ExportError, MmpnetError
from mmpnet.datasets.open import open_dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS

MakeCoco = Callable[..., Path]
FRAME_HW = (720, 1280)
"""In an input of 320 x 320 its scale is 1/4, its place 70 px from the top."""


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


def tiny_yolox(path: Path, *, seed: int = 0, outlier: float = 1) -> Path:
    """YOLOX's shapes on 32 x 32 px. `outlier` multiplies a channel of the first convolution that nobody reads."""
    net = Net(seed)
    stem, after = net.kernel(8, 3, 3) / 60, net.kernel(8, 8, 3)
    if outlier != 1:
        stem[0] *= outlier
        after[:, 0] = 0
    level = net.silu(net.conv("images", stem, 4))
    rows = []
    for stride in (8, 16, 32):
        level = net.silu(net.conv(level, after if stride == 8 else net.kernel(8, 8, 3), 2))
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, make_coco: MakeCoco) -> peer_int8.Pictures:
    path = make_coco(tmp_path_factory.mktemp("calib") / "train.json", count=24, seed=5)
    return peer_int8.choose_pictures(open_dataset(path, "train"))


def outputs_of(path: Path, pictures: peer_int8.Pictures) -> NDArray[np.float32]:
    """What the network says of the judging pictures."""
    feed = open_contestant(path, threads=1, thresholds=EVALUATION_THRESHOLDS).feed
    assert feed is not None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = (next(iter(feed(picture.read()).values())) for picture in pictures.judging.pictures)
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: pixels})[0] for pixels in fed])


def yolo(shape: tuple[int, ...]) -> Family:
    found = family_of((320, 320), [shape])
    assert found is not None
    return found


def test_end_to_end_rows_by_hand() -> None:
    family = yolo((1, 300, 6))
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :4] = [[80, 90, 160, 170, 0.9, 0], [0, 70, 10, 75, 0.8, 2], [0, 0, 40, 80, 0.3, 0], [1, 80, 2, 90, 0.2, 0]]
    boxes, scores = family.decode([rows], FRAME_HW, 0.25)
    np.testing.assert_allclose(boxes, [[320, 80, 640, 400], [0, 0, 160, 40]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9, 0.3])


def test_boxes_of_the_classic_output_by_hand() -> None:
    family = yolo((1, 84, 2100))
    output = np.zeros((1, 84, 2100), np.float32)
    output[0, :6, 7] = [120, 130, 80, 80, 0.9, 0.1]
    output[0, :6, 8] = [120, 130, 80, 80, 0.1, 0.9]  # another class
    boxes, scores = family.decode([output], FRAME_HW, 0.25)
    np.testing.assert_allclose(boxes, [[320, 80, 640, 400]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9])
    assert family.needs_nms


def test_yolo_is_fed_rgb_between_grey_bars() -> None:
    frame = np.zeros((*FRAME_HW, 3), np.uint8)
    frame[..., 0] = 255  # blue
    pixels = yolo_pixels(frame, (320, 320))
    assert pixels.shape == (1, 3, 320, 320)
    np.testing.assert_allclose(pixels[0, :, 160, 160], [0, 0, 1])
    np.testing.assert_allclose(pixels[0, :, [69, 250], 5], 114 / 255, rtol=1e-6)


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
    with pytest.raises(MmpnetError, match=r"outputs \[\(1, 3, 64, 64\)\]; expected"):
        open_contestant(path, threads=1, thresholds=EVALUATION_THRESHOLDS)
    with pytest.raises(MmpnetError, match="no such file"):
        open_contestant(tmp_path / "none.onnx", threads=1, thresholds=EVALUATION_THRESHOLDS)


def test_calibration_and_judging_share_no_picture_and_know_their_contents(
    pictures: peer_int8.Pictures, tmp_path: Path, make_coco: MakeCoco
) -> None:
    chosen = [{picture.path for picture in part.pictures} for part in (pictures.calibration, pictures.judging)]
    assert [len(part) for part in chosen] == [12, 12]
    assert not chosen[0] & chosen[1]
    path = make_coco(tmp_path / "train.json", count=24, seed=5)
    assert peer_int8.choose_pictures(open_dataset(path, "train")).sha256 == pictures.sha256
    picture = next(iter(sorted((tmp_path / "images").iterdir())))
    cv2.imwrite(str(picture), cv2.imread(str(picture)) // 2)
    assert peer_int8.choose_pictures(open_dataset(path, "train")).sha256 != pictures.sha256


def test_int8_is_close_to_float32_and_ends_in_float(pictures: peer_int8.Pictures, tmp_path: Path) -> None:
    source = tiny_yolox(tmp_path / "tiny.onnx")
    path, quantization = peer_int8.int8_peer(source, pictures, tmp_path)
    contestant = open_contestant(path, threads=1, thresholds=EVALUATION_THRESHOLDS)
    assert (path.name, contestant.family, contestant.precision) == ("tiny-int8.onnx", "YOLOX", "int8")
    expected, found = outputs_of(source, pictures), outputs_of(path, pictures)
    assert expected[..., :4].std() > 0.3
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], atol=0.08)  # scores
    np.testing.assert_allclose(found[..., :4], expected[..., :4], atol=0.3)
    graph = onnx.load(path).graph
    rounded = {node.input[0].rpartition("_")[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert any(name.startswith("Conv") for name in rounded)
    assert not any(name.startswith(("Concat", "Reshape", "Transpose")) for name in rounded)
    assert quantization.float_after_convolutions == {"Sigmoid": 6, "Concat": 4, "Reshape": 3, "Transpose": 1}
    assert len({(trial.calibrator, trial.kernels) for trial in quantization.tried}) == 4
    assert quantization.chosen in quantization.tried


def test_a_finished_int8_file_is_found_again(
    pictures: peer_int8.Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_yolox(tmp_path / "tiny.onnx")
    first = peer_int8.int8_peer(source, pictures, tmp_path)

    def never(*_: object, **__: object) -> None:
        raise RuntimeError("quantised again")

    monkeypatch.setattr(peer_quantizer, "quantize_static", never)
    assert peer_int8.int8_peer(source, pictures, tmp_path) == first
    contents = first[0].read_bytes()
    first[0].write_bytes(contents + b"x")
    with pytest.raises(ExportError, match="quantised again"):
        peer_int8.int8_peer(source, pictures, tmp_path)
    first[0].write_bytes(contents)
    other_pictures = peer_int8.Pictures(pictures.calibration, pictures.judging, "0" * 64)
    with pytest.raises(ExportError, match="quantised again"):
        peer_int8.int8_peer(source, other_pictures, tmp_path)
    tiny_yolox(source, seed=1)
    with pytest.raises(ExportError, match="quantised again"):
        peer_int8.int8_peer(source, pictures, tmp_path)
    assert first[0].read_bytes() == contents


def test_a_stale_int8_file_is_made_anew(pictures: peer_int8.Pictures, tmp_path: Path) -> None:
    path, _ = peer_int8.int8_peer(tiny_yolox(tmp_path / "tiny.onnx"), pictures, tmp_path)
    before = path.read_bytes()
    source = tiny_yolox(tmp_path / "tiny.onnx", seed=1)
    peer_int8.int8_peer(source, pictures, tmp_path)
    assert path.read_bytes() != before
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["origin"]["source_sha256"] == file_sha256(source)
    assert record["file_sha256"] == file_sha256(path)


def test_the_tensor_whose_rounding_hurts_is_found_and_left_in_float(
    pictures: peer_int8.Pictures, tmp_path: Path
) -> None:
    source = tiny_yolox(tmp_path / "tiny.onnx", outlier=3000)
    quantizer = peer_quantizer.PeerQuantizer(source, pictures.calibration, tmp_path)
    errors = []
    worst: list[str] = []
    for count in (0, 2):
        layers = quantizer.float_layers(worst[:count])
        model = quantizer.quantized("minmax", "8 bits, rows rescaled", layers)
        onnx.save(model, tmp_path / "int8.onnx")
        difference = outputs_of(tmp_path / "int8.onnx", pictures) - outputs_of(source, pictures)
        errors.append(np.abs(difference[..., 4:]).mean())
        worst = worst or quantizer.worst_tensors(model)
    assert set(worst[:2]) == {"Conv_0", "Mul_2"}
    assert {name.rpartition("/")[2] for name in layers} == {"Conv_0", "Sigmoid_1", "Mul_2", "Conv_3"}
    assert errors[1] < errors[0] / 3


def test_tensors_stay_in_float_until_the_accuracy_is_there(
    pictures: peer_int8.Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_yolox(tmp_path / "tiny.onnx", outlier=3000)

    def closeness(path: Path, _: object) -> float:  # 1 for the float32 file; random weights have no AP
        return 1 - float(np.abs(outputs_of(path, pictures) - outputs_of(source, pictures))[..., 4:].mean())

    monkeypatch.setattr(peer_int8, "_ap", closeness)
    path, quantization = peer_int8.int8_peer(source, pictures, tmp_path)
    tried = [(len(trial.float_tensors), trial.ap) for trial in quantization.tried]
    assert [count for count, _ in tried] == [0, 0, 0, 0, 1, 2]
    assert all((ap >= 0.99) == (count == 2) for count, ap in tried)
    assert quantization.chosen == quantization.tried[-1]
    assert quantization.chosen.ap == closeness(path, None)
    assert set(quantization.float_layers) == {"Conv_0", "Sigmoid_1", "Mul_2", "Conv_3"}


def test_of_versions_alike_the_first_is_taken() -> None:
    trials = [
        peer_int8.Trial("minmax", "7 bits", ("x",) * count, ap) for count, ap in ((0, 0.30), (1, 0.334), (2, 0.335))
    ]
    models = [onnx.ModelProto() for _ in trials]
    assert peer_int8._first_of_the_best(list(zip(trials, models, strict=True))) == (trials[1], models[1])


def test_convolutions_without_biases_and_dead_channels_are_no_trouble(
    pictures: peer_int8.Pictures, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    source = tiny_yolox(tmp_path / "tiny.onnx")
    model = onnx.load(source)
    kernels = {tensor.name: tensor for tensor in model.graph.initializer}
    first, second = [node for node in model.graph.node if node.op_type == "Conv"][:2]
    del first.input[2]
    kernel = numpy_helper.to_array(kernels[second.input[1]]).copy()
    kernel[3] *= 1e-17
    kernels[second.input[1]].CopyFrom(numpy_helper.from_array(kernel, second.input[1]))
    onnx.save(model, source)
    path, _ = peer_int8.int8_peer(source, pictures, tmp_path)
    np.testing.assert_allclose(outputs_of(path, pictures), outputs_of(source, pictures), atol=0.3)
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(peers.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_everybody_in_one_run(tmp_path: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "OURS", ("person-224-int8",))
    peer = tiny_yolox(tmp_path / "tiny.onnx")
    timed = tiny_end_to_end(tmp_path / "yolo26.onnx", [[8, 8, 24, 56, 0.6, 0]])
    given = ("--data", dataset_folder, "--model", peer, "--timed", timed, "--int8", "--calib", dataset_folder)
    small = ("--int8-folder", tmp_path, "--limit", 2, "--rounds", 3, "--frame-size", "160x120")
    code, out, err = run(*given, *small, "--picture", tmp_path / "pareto.png", "--json")
    assert code == 0, err
    rows = json.loads(out)["contestants"]
    precisions = {name: row["precision"] for name, row in rows.items()}
    assert precisions == {"person-224-int8": "int8", "tiny": "fp32", "tiny-int8": "int8", "yolo26": "fp32"}
    assert rows["yolo26"]["AP"] is None
    assert rows["yolo26"]["note"] == "no accuracy: timed with what weights the file has"
    assert rows["yolo26"]["one thread"]["end_to_end_ms"] > 0
    assert rows["tiny-int8"]["made_from"] == "tiny"
    assert rows["tiny-int8"]["quantization"]["n_images"] == 8
    assert rows["person-224-int8"]["quantization"]["activations"] == "uint8"
    assert rows["tiny"]["n_images"] == rows["tiny-int8"]["n_images"] == 2
    assert rows["tiny"]["sha256"] == file_sha256(peer)[:12]
    assert rows["tiny-int8"]["sha256"] == file_sha256(tmp_path / "tiny-int8.onnx")[:12]
    assert "yolo26: no accuracy" in err
    assert f"tiny-int8: AP {rows['tiny']['AP'] or 0:.3f} -> {rows['tiny-int8']['AP'] or 0:.3f}" in err
    assert cv2.imread(str(tmp_path / "pareto.png")) is not None


@pytest.mark.parametrize(
    "flags", [("--int8",), ("--calib", "somewhere"), ("--int8-folder", "somewhere")], ids=lambda flags: flags[0]
)
def test_int8_flags_that_say_half_are_refused(flags: tuple[str, ...], dataset_folder: Path) -> None:
    code, _, err = run("--data", dataset_folder, *flags)
    assert code == 2
    assert "--int8 and --calib go together" in err


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
