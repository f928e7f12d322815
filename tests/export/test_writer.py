"""The exported file: it describes itself, is complete, and computes what the network computes."""

import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from mmpnet.contract.errors import ExportError
from mmpnet.contract.metadata import metadata_from_properties
from mmpnet.export import writer
from mmpnet.export.cli.command import app
from mmpnet.export.graph import Batch, export_graph
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.verification import graph_parity as verify
from mmpnet.export.verification.graph_parity import Parity, compare, synthetic_images
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import synthetic_frame
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, sha256_of
from mmpnet.train.model import MmpNet
from mmpnet.train.network.inference_net import CandidateNet
from support.exported import ExportCache, open_graph

MakeCheckpoint = Callable[..., Path]


def test_the_file_is_valid_and_complete(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [path.name for path in tiny_onnx.parent.iterdir()] == [tiny_onnx.name]
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [13]


def test_metadata_describes_the_origin_of_the_file(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    session = open_graph(tiny_onnx)
    properties = session.get_modelmeta().custom_metadata_map
    metadata = metadata_from_properties(properties, source="tiny")
    checkpoint = load_checkpoint(tiny_checkpoint)
    assert metadata.checkpoint_sha256 == sha256_of(tiny_checkpoint)
    assert metadata.anchors.spec() == checkpoint.model.anchors
    assert metadata.class_names == ("background", "person")
    assert metadata.evaluation is not None
    assert metadata.evaluation.AP50 == 0.2
    assert metadata.proof is not None
    assert metadata.proof.n_images >= 4
    assert ast.literal_eval(properties["names"]) == {0: "background", 1: "person"}
    described = {output.name: output.shape for output in metadata.outputs}
    assert {o.name: tuple(o.shape) for o in session.get_outputs()} == described


@pytest.mark.parametrize(
    ("input_hw", "batch"),
    [
        ((64, 64), 1),
        ((48, 96), 3),
        ((40, 56), "dynamic"),
        *[
            pytest.param(input_hw, batch, marks=pytest.mark.slow)
            for input_hw, batch in (
                ((64, 64), 3),
                ((64, 64), "dynamic"),
                ((48, 96), 1),
                ((48, 96), "dynamic"),
                ((40, 56), 1),
                ((40, 56), 3),
            )
        ],
    ],
)
def test_every_size_and_batch_equals_torch_for_each_image(
    tiny_checkpoint: Path,
    exported: ExportCache,
    export_options: ExportOptions,
    input_hw: tuple[int, int],
    batch: Batch,
) -> None:
    out = exported(tiny_checkpoint, dataclasses.replace(export_options, input_hw=input_hw, batch=batch))
    checkpoint = load_checkpoint(tiny_checkpoint)
    candidates = CandidateNet(checkpoint.network(), checkpoint.model.anchors, input_hw).eval()
    session = open_graph(out)
    random = np.random.default_rng(0)
    for size in (1, 2, 3) if batch == "dynamic" else (batch,):
        images = random.integers(0, 256, (int(size), *input_hw, 3), dtype=np.uint8)
        boxes, scores, class_ids = session.run(None, {"images": images})
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in candidates(torch.from_numpy(images))]
        np.testing.assert_allclose(scores, expected[1], atol=1e-5)
        # Ranks of equal scores may differ, but every box must be among those of torch.
        for row in range(int(size)):
            distance = np.abs(boxes[row][:, None] - expected[0][row][None]).max(axis=2).min(axis=1)
            assert np.quantile(distance, 0.99) < 1e-2
        assert set(class_ids.ravel().tolist()) == {1}


def test_scores_are_probabilities_in_descending_order(tiny_onnx: Path) -> None:
    session = open_graph(tiny_onnx)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    _, scores, _ = session.run(None, {"images": images})
    assert (np.diff(scores[0]) <= 0).all()
    assert 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize(
    ("step", "compact"),
    [("export_graph", False), ("export_graph", True), ("with_head", False), ("with_head", True), ("store_half", True)],
)
def test_a_graph_with_other_results_is_not_kept(
    tiny_checkpoint: Path,
    tmp_path: Path,
    export_options: ExportOptions,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    compact: bool,
) -> None:
    """A faulty step writes a wrong bias of the last convolution."""
    right = getattr(writer, step)

    def wrong(*arguments: object, **options: object) -> onnx.ModelProto:
        model = right(*arguments, **options)
        model = arguments[0] if model is None else model
        assert isinstance(model, onnx.ModelProto)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "predict.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
        return model

    monkeypatch.setattr(writer, step, wrong)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"older file")
    with pytest.raises(ExportError, match="not kept"):
        export_file(tiny_checkpoint, out, dataclasses.replace(export_options, compact=compact))
    assert out.read_bytes() == b"older file"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_graph_with_a_slightly_wrong_kernel_is_not_kept(
    tiny_checkpoint: Path, tmp_path: Path, export_options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export_graph

    def wrong(*arguments: object, **options: object) -> onnx.ModelProto:
        model = right(*arguments, **options)  # type: ignore[arg-type]
        kernel = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)) * (len(tensor.dims) == 4))
        kernel.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(kernel) * 1.02, kernel.name))
        return model

    monkeypatch.setattr(writer, "export_graph", wrong)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"older file")
    with pytest.raises(ExportError, match="not kept"):
        export_file(tiny_checkpoint, out, export_options)
    assert out.read_bytes() == b"older file"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    "wrong", [{"grid": 0.1}, {"score": 1e-3}, {"box": 1.0}, {"grid": float("nan")}, {"score": float("nan")}]
)
def test_differences_above_tolerance_or_nan_are_rejected(wrong: dict[str, float]) -> None:
    right = {"grid": 1e-5, "score": 1e-6, "box": 1e-3}
    Parity(3, *right.values()).check()
    with pytest.raises(ExportError):
        Parity(3, *(right | wrong).values()).check()


class _Scrambled:
    """A session whose outputs have a fault."""

    def __init__(self, model_bytes: bytes, fault: str) -> None:
        self._session = onnxruntime.InferenceSession(model_bytes)
        self._fault = fault
        self._runs = 0

    def run(self, names: list[str], feed: dict[str, object]) -> list[object]:
        grid, boxes, scores, class_ids = self._session.run(names, feed)
        self._runs += 1
        if self._fault == "nan in the first image" and self._runs == 1:
            boxes[0, 3, 2] = np.nan
        elif self._fault == "boxes of other anchors":
            boxes = np.roll(boxes, 40, axis=1)
        elif self._fault == "wrong class":
            class_ids = class_ids + 1
        elif self._fault == "another grid":
            grid = grid + 0.1
        return [grid, boxes, scores, class_ids]


@pytest.mark.parametrize("fault", ["nan in the first image", "boxes of other anchors", "wrong class", "another grid"])
def test_comparison_finds_faults_that_a_mean_would_hide(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    candidates = CandidateNet(checkpoint.network(), checkpoint.model.anchors, (64, 64)).eval()
    monkeypatch.setattr(verify, "open_graph", lambda content: _Scrambled(content, fault))
    full = export_graph(candidates, batch=1, opset=13).SerializeToString()
    parity = compare(candidates, full, synthetic_images(checkpoint.model.letterbox, count=3), batch=1)
    with pytest.raises(ExportError, match="not kept"):
        parity.check()


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_self_test_uses_the_best_of_the_requested_number_of_frames(
    tiny_checkpoint: Path, tmp_path: Path, export_options: ExportOptions, seeds: int
) -> None:
    options = dataclasses.replace(export_options, self_test_seeds=seeds)
    metadata = export_file(tiny_checkpoint, tmp_path / "m.onnx", options)
    assert metadata.self_test is not None
    detector = Detector(
        tmp_path / "m.onnx", thresholds=dataclasses.replace(metadata.thresholds, conf=0), provider="cpu"
    )
    best = [float(detector(synthetic_frame(seed, (64, 64))).score[0]) for seed in range(seeds)]
    assert metadata.self_test.seed == best.index(max(best))


def test_an_export_builds_the_network_once_after_the_check_of_the_checkpoint(
    tiny_checkpoint: Path, tmp_path: Path, export_options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = Checkpoint.network

    def noted(checkpoint: Checkpoint) -> MmpNet:
        built.append(checkpoint)
        return build(checkpoint)

    monkeypatch.setattr(Checkpoint, "network", noted)
    export_file(tiny_checkpoint, tmp_path / "m.onnx", export_options)
    assert len(built) == 2, "once in the check of load_checkpoint, and once for the export and its comparison"


def test_accuracy_measured_at_another_size_is_left_out(
    tiny_onnx: Path, tiny_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    other = exported(tiny_checkpoint, resized(export_options, (48, 96)))
    at_size, at_other = (read_model_file(path).metadata for path in (tiny_onnx, other))
    assert at_size is not None
    assert at_other is not None
    assert at_size.evaluation is not None
    assert at_other.evaluation is None


def test_comparison_covers_every_image_of_an_uneven_batch(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    candidates = CandidateNet(checkpoint.network(), checkpoint.model.anchors, (64, 64)).eval()
    images = synthetic_images(checkpoint.model.letterbox, count=5)
    assert len({image.tobytes() for image in images}) == 5
    parity = compare(candidates, export_graph(candidates, batch=1, opset=13).SerializeToString(), images, batch=1)
    assert parity.n_images == 5
    assert parity.max_score_difference < 1e-5


def test_several_classes_keep_their_names_and_ids(
    three_class_checkpoint: Path, exported: ExportCache, export_options: ExportOptions
) -> None:
    detector = Detector(exported(three_class_checkpoint, export_options), provider="cpu", threads=1)
    found = detector(np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    assert set(found.class_id.tolist()) <= {1, 2, 3}
    assert len(set(found.class_id.tolist())) > 1


def test_networks_without_boxes_and_sizes_off_the_grid_are_rejected(
    make_checkpoint: MakeCheckpoint, tiny_checkpoint: Path, tmp_path: Path, export_options: ExportOptions
) -> None:
    logits_only = make_checkpoint(tmp_path / "logits.pth", box_regression=False)
    with pytest.raises(ExportError, match="without box regression"):
        export_file(logits_only, tmp_path / "a.onnx", export_options)
    with pytest.raises(ExportError, match="multiples of the stride"):
        export_file(tiny_checkpoint, tmp_path / "a.onnx", resized(export_options, (60, 64)))
    assert not (tmp_path / "a.onnx").exists()


def resized(options: ExportOptions, input_hw: tuple[int, int]) -> ExportOptions:
    return dataclasses.replace(options, input_hw=input_hw)


def test_command_ends_with_a_summary_and_the_next_commands(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    arguments = [str(tiny_checkpoint), "-o", str(out), "--imgsz", "48x96", "--conf", "0.2", "--data-license", "CC0"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.stderr
    assert "48x96" in result.stderr
    assert f"mmp-run {out}" in result.stderr
    detector = Detector(out, provider="cpu", threads=1)
    assert detector.thresholds.conf == 0.2
    assert detector.metadata.licences.data == "CC0"
    assert msgspec.to_builtins(detector.metadata)["input"]["size_hw"] in ((48, 96), [48, 96])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.pth"], 1, "absent.pth"),
        (["C", "--batch", "none"], 2, "dynamic"),
        (["C", "--imgsz", "0"], 2, "HEIGHTxWIDTH"),
        (["C", "-o", "model.pt"], 2, ".onnx"),
        (["C", "--opset", "3"], 2, "11"),
        (["C", "--conf", "2"], 2, "--conf"),
    ],
)
def test_bad_options_are_rejected(tiny_checkpoint: Path, arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint) if a == "C" else a for a in arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
