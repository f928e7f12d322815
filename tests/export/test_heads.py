"""The three heads of one network: each returns what the contract computes from the grid."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from mmpnet.cli.run.command import app as run_app
from mmpnet.contract.boxes import nms, vote_boxes
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError, ExportError
from mmpnet.contract.heads import Head
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.open import open_dataset
from mmpnet.export.cli.command import app
from mmpnet.export.metadata_builder import ExportOptions, oldest_runtime
from mmpnet.export.verification import accuracy
from mmpnet.export.verification.graph_parity import as_input
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from support.exported import ExportCache, open_graph

SURE = {"person": 0.55, "several": 0.3}
"""Scores that some boxes of the random networks reach."""
SHAPE_OPERATORS = {"Shape", "ConstantOfShape", "Range", "NonZero", "If", "Loop"}


def random_images(count: int, side: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def expected_rows(session: Any, images: np.ndarray[Any, Any], thresholds: Thresholds) -> list[np.ndarray[Any, Any]]:
    """xyxy, score and class id of each image, after the contract's NMS and vote of the candidates in `boxes`."""
    rows = []
    for boxes, scores, class_ids in zip(*session.run(None, {"images": images}), strict=True):
        sure = np.flatnonzero(scores >= thresholds.conf)
        kept = sure[nms(boxes[sure], scores[sure], thresholds.iou, class_ids=class_ids[sure])[: thresholds.max_det]]
        moved = vote_boxes(boxes[kept], boxes, scores, kept_ids=class_ids[kept], class_ids=class_ids)
        rows.append(np.column_stack([moved, scores[kept], class_ids[kept]]))
    return rows


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("which", ["person", "several"])
@pytest.mark.parametrize("frozen", [False, True])
def test_nms_in_the_graph_equals_the_contract_for_every_image_of_a_batch(
    tiny_checkpoint: Path,
    three_class_checkpoint: Path,
    exported: ExportCache,
    export_options: ExportOptions,
    which: str,
    count: int,
    frozen: bool,
) -> None:
    checkpoint = tiny_checkpoint if which == "person" else three_class_checkpoint
    thresholds = Thresholds(conf=SURE[which], iou=0.4, max_det=20)
    options = dataclasses.replace(export_options, batch="dynamic", **dataclasses.asdict(thresholds))
    boxes = open_graph(exported(checkpoint, options))
    final = open_graph(exported(checkpoint, dataclasses.replace(options, head="nms", frozen=frozen)))
    images = random_images(count)
    images[-1] = 0  # images of one batch with different numbers of detections
    expected = expected_rows(boxes, images, thresholds)
    detections, num_dets = final.run(None, {"images": images})
    assert detections.shape == (count, 20, 6)
    assert num_dets.tolist() == [len(rows) for rows in expected]
    for row, rows in zip(detections, expected, strict=True):
        np.testing.assert_allclose(row[: len(rows)], rows, rtol=1e-5, atol=1e-4)
        assert not row[len(rows) :].any()
    assert max(num_dets) > 3


def test_nms_in_the_graph_works_with_a_fixed_batch(
    three_class_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    thresholds = Thresholds(conf=SURE["several"], iou=0.4, max_det=20)
    options = dataclasses.replace(export_options, head="nms", **dataclasses.asdict(thresholds))
    found = []
    for batch in (1, 3):
        session = open_graph(exported(three_class_checkpoint, dataclasses.replace(options, batch=batch)))
        runs = [session.run(None, {"images": chunk}) for chunk in np.split(random_images(3), 3 // batch)]
        found.append([np.concatenate(outputs) for outputs in zip(*runs, strict=True)])
    np.testing.assert_array_equal(found[1][1], found[0][1])
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5, atol=1e-4)


def test_thresholds_are_overridden_by_inputs(
    three_class_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    options = dataclasses.replace(export_options, head="nms", conf=0.9, iou=0.5, max_det=5)
    final = open_graph(exported(three_class_checkpoint, options))
    boxes = open_graph(exported(three_class_checkpoint, export_options))
    assert [value.name for value in final.get_overridable_initializers()] == ["conf", "iou", "max_det"]
    images = random_images(1, seed=3)
    for thresholds in (Thresholds(0.2, 0.3, 7), Thresholds(0.0, 1.0, 300), Thresholds(1.0, 0.5, 3)):
        feed = {
            "conf": np.array([thresholds.conf], np.float32),
            "iou": np.array([thresholds.iou], np.float32),
            "max_det": np.array([thresholds.max_det], np.int64),
        }
        detections, num_dets = final.run(None, {"images": images, **feed})
        (expected,) = expected_rows(boxes, images, thresholds)
        assert num_dets[0] == len(expected)
        np.testing.assert_allclose(detections[0, : num_dets[0]], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["uint8-nhwc", "float-nchw"])
@pytest.mark.parametrize("head", ["grid", "boxes", "nms"])
@pytest.mark.parametrize("which", ["person", "several"])
def test_detections_are_the_same_with_every_head_and_input(
    tiny_checkpoint: Path,
    three_class_checkpoint: Path,
    exported: ExportCache,
    export_options: ExportOptions,
    which: str,
    head: Head,
    kind: InputKind,
) -> None:
    checkpoint = tiny_checkpoint if which == "person" else three_class_checkpoint
    reference = exported(checkpoint, export_options)
    path = exported(checkpoint, dataclasses.replace(export_options, head=head, input_kind=kind))
    thresholds = Thresholds(conf=SURE[which], iou=0.45, max_det=30)
    frame = random_images(1, side=90, seed=1)[0, :70]
    expected = Detector(reference, thresholds=thresholds, provider="cpu", threads=1)(frame)
    detector = Detector(path, provider="cpu", threads=1).with_thresholds(thresholds)
    assert_same(detector(frame), expected)
    assert len(expected) > 3


def assert_same(found: Detections, expected: Detections) -> None:
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-2)
    np.testing.assert_array_equal(found.class_id, expected.class_id)


@pytest.mark.parametrize("kind", ["uint8-nhwc", "float-nchw"])
def test_the_grid_is_the_output_of_the_network(
    tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions, kind: InputKind
) -> None:
    options = dataclasses.replace(export_options, batch=2, head="grid", input_kind=kind)
    session = open_graph(exported(tiny_checkpoint, options))
    checkpoint = load_checkpoint(tiny_checkpoint)
    images = random_images(2)
    (grid,) = session.run(None, {"images": as_input(images, kind)})
    normalized = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = checkpoint.network()((normalized - mean.view(3, 1, 1)) / std.view(3, 1, 1)).numpy()
    assert grid.shape == (2, 6, 2, 2, 8, 8)
    np.testing.assert_allclose(grid, expected, atol=1e-4)


def test_a_file_for_one_image_computes_no_shapes_and_has_no_unused_nodes(
    tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    operators_of = {}
    for head in ("grid", "boxes"):
        model = onnx.load(exported(tiny_checkpoint, dataclasses.replace(export_options, head=head)))
        operators = [node.op_type for node in model.graph.node]
        assert not SHAPE_OPERATORS.intersection(operators)
        assert "BatchNormalization" not in operators
        operators_of[head] = operators
        used = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
        assert {tensor.name for tensor in model.graph.initializer} <= used
    assert "TopK" not in operators_of["grid"]
    assert "TopK" in operators_of["boxes"]
    assert len(operators_of["grid"]) < len(operators_of["boxes"])


def test_weights_have_their_names_in_the_network(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    names = {tensor.name for tensor in onnx.load(tiny_onnx).graph.initializer}
    modules = dict(load_checkpoint(tiny_checkpoint).network().named_modules())
    convolutions = [name for name, module in modules.items() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) > 50
    assert {f"{name}.{part}" for name in convolutions for part in ("weight", "bias")} <= names


def test_overriding_frozen_thresholds_is_an_error(
    tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    path = exported(tiny_checkpoint, dataclasses.replace(export_options, head="nms", frozen=True))
    detector = Detector(path, provider="cpu", threads=1)
    assert detector.metadata.nms is not None
    assert not detector.metadata.nms.overridable
    assert len(detector(random_images(1)[0])) > 0
    with pytest.raises(ContractError, match="leave --conf, --iou and --max-det out"):
        Detector(path, thresholds=Thresholds(conf=0.1), provider="cpu", threads=1)
    with pytest.raises(ContractError, match="--frozen"):
        detector.with_thresholds(Thresholds(conf=0.1))


def test_a_self_test_that_expects_no_box_is_reported(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "m.onnx")
    arguments = [str(tiny_checkpoint), "-o", out, "--nms", "--frozen", "--conf", "0.99"]
    for result in (CliRunner().invoke(app, arguments), CliRunner().invoke(run_app, [out, "--self-test"])):
        assert result.exit_code == 0, result.stderr
        assert "expects no box, so it only detects invented boxes" in " ".join(result.stderr.split())


def test_verify_records_both_accuracies_in_the_file(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path, export_options: ExportOptions
) -> None:
    dataset = open_dataset(dataset_folder, "val")
    export_file(tiny_checkpoint, tmp_path / "m.onnx", export_options, verify=dataset)
    metadata = read_model_file(tmp_path / "m.onnx").metadata
    assert metadata is not None
    assert metadata.proof is not None
    record = metadata.proof.accuracy
    assert record is not None
    assert (record.dataset, record.dataset_sha256, record.n_images) == (dataset.name, dataset.sha256, 6)
    assert pytest.approx(record.reference.AP, abs=1e-3) == record.file.AP


def test_a_less_accurate_file_is_not_kept(
    tiny_checkpoint: Path,
    dataset_folder: Path,
    tmp_path: Path,
    export_options: ExportOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accuracy, "MAX_AP_DIFFERENCE", -1.0)
    (tmp_path / "m.onnx").write_bytes(b"before")
    with pytest.raises(ExportError, match="was not kept"):
        export_file(tiny_checkpoint, tmp_path / "m.onnx", export_options, verify=open_dataset(dataset_folder, "val"))
    assert (tmp_path / "m.onnx").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_the_command_is_recorded_in_the_file(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "m.onnx"
    arguments = [str(tiny_checkpoint), "-o", str(out), "--nms", "--verify", str(dataset_folder), "--batch", "dynamic"]
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/mmp-export", *arguments])
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.stderr
    assert "AP50" in result.stderr
    metadata = read_model_file(out).metadata
    assert metadata is not None
    assert metadata.proof is not None
    assert metadata.proof.command.startswith(f"mmp-export {tiny_checkpoint.name} -o m.onnx --nms")
    assert metadata.minimum_runtime.onnxruntime == "1.6"
    assert metadata.head == "nms"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frozen"], "--frozen goes with --nms"),
        (["--head", "grid", "--nms"], "give one of them"),
        (["--head", "nms", "--no-nms"], "give one of them"),
        (["--verify", "D", "--batch", "2"], "cannot be measured"),
        (["--head", "mask"], "grid"),
        (["--input", "float16"], "float-nchw"),
    ],
)
def test_contradicting_options_are_rejected(tiny_checkpoint: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint), *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_oldest_runtime_depends_on_opset_and_ir_version(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    assert oldest_runtime(model) == "1.6"
    model.ir_version = 8
    assert oldest_runtime(model) == "1.10"
    model.opset_import[0].version = 17
    assert oldest_runtime(model) == "1.12"
    model.opset_import[0].version = 99
    assert oldest_runtime(model) == "unknown"
