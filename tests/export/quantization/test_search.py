"""--int8: only convolutions are quantized, rearranging changes no bit, and the file is kept only if it is better."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.records import Accuracy, AccuracyRecord, LatencyRecord
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.plain_images import read_plain_images
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.bootstrap import Interval
from mmpnet.export.cli.command import app
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization import search as int8
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer, layer_errors
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.quantization.search import Measurement, Trial, calibration_images, interleaved_latency, make_int8
from mmpnet.export.steps import calibration_data
from mmpnet.export.verification.file_parity import Reference, reference_of
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import run_self_test
from mmpnet.system.machine import cpu_name
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from support.coco_writer import write_coco
from support.exported import ExportCache, open_graph

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def float_file(exported: ExportCache, tiny_checkpoint: Path) -> Path:
    """A float32 file for 64x96 px, whose grid has 24 channels, which is no multiple of 16. Read only."""
    options = ExportOptions((64, 96), 1, 13, conf=0.3, self_test_seeds=8)
    return exported(tiny_checkpoint, options)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> Reference:
    """The checkpoint from which the float file was exported."""
    return reference_of(load_checkpoint(tiny_checkpoint), Letterbox((64, 96)))


@pytest.fixture(scope="module")
def train(dataset_folder: Path) -> Dataset:
    return open_dataset(dataset_folder, "train")


@pytest.fixture(scope="module")
def val(dataset_folder: Path) -> Dataset:
    return open_dataset(dataset_folder, "val")


def images_of(dataset: Dataset) -> list[np.ndarray[Any, Any]]:
    return calibration_images(dataset, Letterbox((64, 96)))


def run(model: onnx.ModelProto, image: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = open_graph(model.SerializeToString())
    outputs: list[np.ndarray[Any, Any]] = session.run(None, {"images": image[None]})
    return outputs


def quantizer_of(path: Path, train: Dataset, folder: Path, **options: Any) -> Quantizer:
    return Quantizer(onnx.load(path), images_of(train), QuantizationOptions(**options), folder)


@pytest.fixture(scope="module")
def quantizer(float_file: Path, train: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Quantizer:
    """A quantizer of the float file with the default options. Read only."""
    return quantizer_of(float_file, train, tmp_path_factory.mktemp("quantizer"))


def test_only_the_network_is_quantized_and_it_reads_bytes_directly(quantizer: Quantizer) -> None:
    model = quantizer.quantized()
    producers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == len(quantizer.layers)
    for convolution in convolutions:
        assert [producers[name].op_type for name in convolution.input] == ["DequantizeLinear"] * 3
    first = producers[convolutions[0].input[0]]
    assert producers[first.input[0]].op_type == "Transpose"
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert "Cast" not in [node.op_type for node in model.graph.node]
    after = [node for node in model.graph.node if "/network/" not in node.name and "Linear" not in node.op_type]
    for node in after:
        for name in node.input:
            assert "quantized" not in name
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight_quantized"):
            assert tensor.data_type == onnx.TensorProto.INT8


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("calibrator", ["minmax", "entropy", "percentile"])
def test_scores_are_close_to_float32(
    float_file: Path, train: Dataset, val: Dataset, tmp_path: Path, activations: str, calibrator: str
) -> None:
    quantizer = quantizer_of(float_file, train, tmp_path, activations=activations, calibrator=calibrator)
    model = rearrange(quantizer.quantized())
    for image in images_of(val)[:3]:
        expected, found = run(onnx.load(float_file), image)[1], run(model, image)[1]
        assert np.abs(expected - found).mean() < 0.1


@pytest.mark.parametrize("left_out", [(), (0,), (-1,), (3, 20)])
def test_rearranging_changes_no_bit(quantizer: Quantizer, val: Dataset, left_out: tuple[int, ...]) -> None:
    model = quantizer.quantized([quantizer.layers[index] for index in left_out])
    changed = rearrange(model)
    onnx.checker.check_model(changed, full_check=True)
    names = {node.name for node in changed.graph.node}
    assert ("group_pixels" in names) == (0 not in left_out)
    assert ("cut_last_outputs" in names) == (-1 not in left_out)
    assert "Resize" not in [node.op_type for node in changed.graph.node]
    for image in [*images_of(val)[:3], np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)]:
        for expected, found in zip(run(model, image), run(changed, image), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_every_convolution_still_fuses(quantizer: Quantizer, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(rearrange(quantizer.quantized()).SerializeToString(), options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") == len(quantizer.layers)
    assert "Conv" not in operators


@pytest.mark.parametrize("left_out", [1, 2, 5, -2, -1])
def test_onnx_runtime_keeps_the_chosen_layers_in_float(quantizer: Quantizer, tmp_path: Path, left_out: int) -> None:
    layer = quantizer.layers[left_out]
    model = rearrange(quantizer.quantized([layer]))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    kernels = []
    for graph in (model.graph, onnx.load(tmp_path / "optimized.onnx").graph):
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        kernels.append(tensors.get(next(node.input[1] for node in graph.node if node.name == layer)))
    assert kernels[0] is not None
    assert kernels[1] is not None
    assert np.array_equal(kernels[0], kernels[1])


def test_layers_are_ranked_by_their_error(float_file: Path, train: Dataset, tmp_path: Path) -> None:
    quantizer = quantizer_of(float_file, train, tmp_path)
    quantizer.layers = quantizer.layers[:3] + quantizer.layers[-1:]
    errors = layer_errors(quantizer, 2)
    assert {name for name, _ in errors} == set(quantizer.layers)
    assert [error for _, error in errors] == sorted((error for _, error in errors), reverse=True)
    assert errors[0][1] > 0


def copied(path: Path, folder: Path) -> Path:
    target = folder / path.name
    target.write_bytes(path.read_bytes())
    return target


def with_measurements(
    monkeypatch: pytest.MonkeyPatch, *, ap: Sequence[float], int8_ms: float, float_ms: float = 10.0
) -> None:
    """Replace the measurements: accuracies in the order of the calls, that of float32 first, and latencies."""
    answers = iter(ap)
    monkeypatch.setattr(int8, "_measured", lambda *_: Measurement(Accuracy(next(answers), 0.5), None))
    monkeypatch.setattr(int8, "interleaved_latency", lambda *_, **__: LatencyRecord(int8_ms, float_ms, 1, "a CPU"))
    monkeypatch.setattr(
        int8, "layer_errors", lambda quantizer, _, **__: [(name, 1.0) for name in reversed(quantizer.layers)]
    )


def test_a_good_int8_file_replaces_the_float_file(
    float_file: Path,
    train: Dataset,
    val: Dataset,
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(float_file, tmp_path)
    with_measurements(monkeypatch, ap=[0.5, 0.496], int8_ms=4.0)
    make_int8(path, train, val, reference, self_test_seeds=8)
    metadata = read_model_file(path).metadata
    assert metadata is not None
    record = metadata.quantization
    assert record is not None
    assert metadata.precision == "int8"
    assert record.kept
    assert (record.dataset, record.n_images, record.float_layers) == (train.name, 16, ())
    assert record.accuracy.reference.AP == 0.5
    assert record.latency.cpu == "a CPU"
    assert metadata.self_test is not None
    assert metadata.self_test.max_score_difference == 0.05
    run_self_test(Detector(path, provider="cpu", threads=1))
    assert path.stat().st_size < 0.7 * float_file.stat().st_size


def test_layers_stay_in_float_until_the_file_is_accurate(
    float_file: Path,
    train: Dataset,
    val: Dataset,
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(float_file, tmp_path)
    with_measurements(monkeypatch, ap=[0.5, 0.4, 0.45, 0.499], int8_ms=4.0)
    metadata = make_int8(path, train, val, reference, self_test_seeds=8)
    assert metadata.quantization is not None
    layers = metadata.quantization.float_layers
    assert len(layers) == 2
    assert layers[0].endswith("predict/Conv")
    producers = {output: node for node in onnx.load(path).graph.node for output in node.output}
    for node in onnx.load(path).graph.node:
        if node.op_type == "Conv":
            assert (node.name in layers) == (node.input[1] not in producers)


@pytest.mark.parametrize(
    ("ap", "int8_ms", "reason"),
    [([0.5, 0.3, 0.31, 0.32, 0.3, 0.2], 4.0, "AP 0.3200 is less than 99%"), ([0.5] * 6, 11.0, "is not less than")],
)
@pytest.mark.slow
def test_an_int8_file_without_a_gain_is_not_kept(
    dataset_folder: Path,
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ap: list[float],
    int8_ms: float,
    reason: str,
) -> None:
    checkpoint = make_checkpoint(tmp_path / "model.pth")
    with_measurements(monkeypatch, ap=ap, int8_ms=int8_ms)
    arguments = [str(checkpoint), "--int8", "--calib", str(dataset_folder)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 1
    assert "int8 was not kept" in result.stderr
    assert reason in result.stderr
    file = read_model_file(tmp_path / "model.onnx")
    assert file.metadata is not None
    assert file.metadata.precision == "float32"
    assert file.metadata.quantization is not None
    assert not file.metadata.quantization.kept
    assert reason in json.dumps(file.as_dict())
    assert run_self_test(Detector(file.path, provider="cpu", threads=1)).n_expected >= 1


def test_both_files_take_turns_when_timed(float_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(float_file.read_bytes())
    order: list[str] = []
    look = Detector.__call__

    def watched(detector: Detector, frame_bgr: np.ndarray[Any, Any]) -> Detections:
        order.append(detector.path.stem)
        return look(detector, frame_bgr)

    monkeypatch.setattr(Detector, "__call__", watched)
    record = interleaved_latency(other, float_file, rounds=5)
    rounds = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert len(rounds) == 5
    for one in rounds:  # each file first without being timed
        assert one in (["other", "other", "tiny", "tiny"], ["tiny", "tiny", "other", "other"])
    assert record.int8_ms > 0
    assert record.float_ms > 0
    assert record.cpu == cpu_name()


def test_int8_requires_a_float_file_that_detects_something(
    float_file: Path,
    train: Dataset,
    val: Dataset,
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(float_file, tmp_path)
    with_measurements(monkeypatch, ap=[0.0007, 0.0007], int8_ms=4.0)
    with pytest.raises(
        ExportError, match=r"has AP 0\.0007 on dataset\d+/val.json, but int8 can only be compared with it from 0\.01"
    ):
        make_int8(path, train, val, reference, self_test_seeds=8)
    assert path.read_bytes() == float_file.read_bytes()


def test_calibration_images_are_those_of_the_runtime(
    train: Dataset, float_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(float_file, provider="cpu", threads=1)
    run_really = detector._run
    fed: list[np.ndarray[Any, Any]] = []

    def watched(feed: dict[str, np.ndarray[Any, Any]]) -> Any:
        fed.append(feed["images"][0].copy())
        return run_really(feed)

    monkeypatch.setattr(detector, "_run", watched)
    for image in train.images:
        detector(image.read())
    np.testing.assert_array_equal(np.stack(fed), np.stack(images_of(train)))


def test_the_proof_describes_the_int8_file(
    float_file: Path,
    train: Dataset,
    val: Dataset,
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(float_file, tmp_path)
    with_measurements(monkeypatch, ap=[0.5, 0.499], int8_ms=4.0)
    make_int8(path, train, val, reference, self_test_seeds=8)
    proofs = [metadata.proof for metadata in (read_model_file(one).metadata for one in (path, float_file)) if metadata]
    quantized, exact = (proof.after_nms for proof in proofs if proof is not None)
    assert quantized is not None
    assert exact is not None
    assert exact.max_score_difference < 1e-4 < quantized.max_score_difference
    assert quantized == reference.beside(path, Detector(path, provider="cpu", threads=1).metadata)
    assert proofs[0] is not None
    assert proofs[0].accuracy is not None
    assert (proofs[0].accuracy.reference.AP, proofs[0].accuracy.file.AP) == (0.5, 0.499)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_the_old_file_stays_when_quantizing_is_interrupted(
    dataset_folder: Path,
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(int8, "_search", interrupted)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"older file")
    arguments = [str(make_checkpoint(tmp_path / "model.pth")), "--int8", "--calib", str(dataset_folder)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == (130 if isinstance(fault, KeyboardInterrupt) else 1)
    if isinstance(fault, OSError):
        assert "model.onnx: cannot be written (No space left on device)" in result.stderr
    assert out.read_bytes() == b"older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pth"]


def test_images_without_boxes_leave_the_old_file(
    dataset_folder: Path, make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    deserted = write_coco(tmp_path / "d" / "train.json", count=4, seed=1)
    content = json.loads(deserted.read_text())
    deserted.write_text(json.dumps({**content, "annotations": []}))
    out = tmp_path / "model.onnx"
    out.write_bytes(b"older file")
    checkpoint = make_checkpoint(tmp_path / "model.pth")
    arguments = [str(checkpoint), "--int8", "--calib", str(tmp_path / "d"), "--verify", str(dataset_folder)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 1
    assert out.read_bytes() == b"older file"


def test_images_without_boxes_and_no_images_are_rejected(train: Dataset, float_file: Path, tmp_path: Path) -> None:
    empty = dataclasses.replace(train, images=())
    with pytest.raises(ExportError, match="has no images"):
        images_of(empty)
    deserted = dataclasses.replace(train, images=tuple(p for p in train.images if not len(p.boxes_xyxy)))
    with pytest.raises(ExportError, match=r"has no box in the \d+ images"):
        images_of(deserted)
    with pytest.raises(ExportError, match="no images to calibrate with"):
        Quantizer(onnx.load(float_file), [], QuantizationOptions(), tmp_path)


def test_images_that_calibrate_need_no_labels(train: Dataset, dataset_folder: Path) -> None:
    plain = read_plain_images(dataset_folder / "images")
    assert len(images_of(plain)) == len(plain.images)
    mixed = calibration_data([dataset_folder, dataset_folder / "images"])
    assert len(mixed.images) == len(train.images) + len(plain.images)
    assert any("without labels" in note for note in mixed.notes)
    assert calibration_data([dataset_folder / "images"]).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--int8"], 2, "--int8 and --calib"),
        (["--calib", "D"], 2, "--int8 and --calib"),
        (["--int8", "--calib", "D", "--nms"], 2, "--int8 needs --head boxes"),
        (["--int8", "--calib", "D", "--batch", "dynamic"], 2, "--batch 1"),
        (["--int8", "--calib", "D", "--calibrator", "guess"], 2, "minmax"),
        (["--int8", "--calib", "absent"], 1, "absent"),
    ],
)
def test_bad_options_are_rejected_before_anything_is_written(
    tiny_checkpoint: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    out = tmp_path / "m.onnx"
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "-o", str(out), *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert message in result.stderr
    assert not out.exists()


def test_calibration_data_without_a_val_split_needs_verify(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.onnx"
    arguments = [str(tiny_checkpoint), "-o", str(out), "--int8", "--calib", str(dataset_folder / "train.json")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "give labeled images with --verify" in result.stderr
    assert not out.exists()


def a_trial(ap: float, interval: Interval | None, *, n_images: int = 24, int8_ms: float = 4.0) -> Trial:
    """An int8 version of a file with AP 0.5 and 10 ms."""
    accuracy = AccuracyRecord("COCO", "val", "0" * 64, n_images, Accuracy(0.5, 0.9), Accuracy(ap, 0.9))
    return Trial(onnx.ModelProto(), (), accuracy, LatencyRecord(int8_ms, 10.0, 1, "a CPU"), interval)


def test_few_images_do_not_settle_a_loss_and_the_verdict_says_how_many_would() -> None:
    options = QuantizationOptions()
    unsettled = a_trial(0.49, Interval(-0.03, 0.01)).fault(options)
    assert unsettled == (
        "AP 0.4900 is less than 99% of float32's 0.5000, but the 95 % interval of the difference is -0.0300 to "
        "+0.0100: 24 images do not settle it, about 384 would; or accept it with --int8-loss 0.03 or --int8 always"
    )
    assert a_trial(0.4, Interval(-0.12, -0.08)).fault(options) == "AP 0.4000 is less than 99% of float32's 0.5000"
    assert "3 images are too few to settle it" in str(a_trial(0.4, None, n_images=3).fault(options))


def test_a_loss_can_be_accepted_knowingly_and_few_images_do_not_settle_that_it_is_small() -> None:
    lossy = a_trial(0.49, Interval(-0.03, 0.01))
    accepting = QuantizationOptions(allowed_loss=0.03)
    assert lossy.fault(accepting) is None
    accepted = "as accurate as float32 within the accepted 3%, and faster"
    assert a_trial(0.49, Interval(-0.014, 0.01)).verdict(accepting) == accepted
    assert a_trial(0.49, Interval(-0.03, 0.012)).verdict(accepting) == (
        f"{accepted}, but the 95 % interval of the difference is -0.0300 to +0.0120: 24 images do not settle it, about "
        "424 would"
    )
    assert "faster, but 3 images are too few to settle it" in a_trial(0.5, None, n_images=3).verdict(accepting)
    assert "is not less than" in str(a_trial(0.49, None, int8_ms=11.0).fault(accepting))
    always = QuantizationOptions(always=True)
    assert a_trial(0.1, None, int8_ms=11.0).verdict(always) == "kept in any case, as requested"


def test_int8_always_keeps_the_file_and_its_metadata_say_so(
    dataset_folder: Path, make_checkpoint: MakeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_checkpoint(tmp_path / "model.pth")
    with_measurements(monkeypatch, ap=[0.5, 0.1], int8_ms=11.0)
    arguments = [str(checkpoint), "--int8", "always", "--calib", str(dataset_folder)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.stderr
    metadata = read_model_file(tmp_path / "model.onnx").metadata
    assert metadata is not None
    assert metadata.precision == "int8"
    assert metadata.quantization is not None
    assert metadata.quantization.allowed_loss is None
    assert metadata.quantization.verdict == "kept in any case, as requested"
