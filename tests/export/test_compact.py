"""--compact: half the size, and the results of the network with rounded kernels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from typer.testing import CliRunner

from mmpnet.bench.profile.layer_costs import read_layers
from mmpnet.contract.errors import ExportError
from mmpnet.contract.heads import Head
from mmpnet.export.cli.command import app
from mmpnet.export.compact import round_kernels
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.network.onnx_weights import read_onnx_weights
from support.exported import ExportCache


@pytest.fixture(scope="module")
def compact_onnx(exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions) -> Path:
    """The tiny checkpoint, exported with --compact. Read only."""
    return exported(tiny_checkpoint, replace(export_options, compact=True))


def kernels(path: Path) -> dict[str, onnx.TensorProto]:
    return {t.name: t for t in onnx.load(path).graph.initializer if t.name.endswith(".weight")}


def mixes_channels(tensor: onnx.TensorProto) -> bool:
    """Neither the first kernel nor a depthwise one."""
    return tensor.name != "features.0.0.weight" and tensor.dims[1] > 1


def mixing_types(path: Path) -> set[int]:
    return {tensor.data_type for tensor in kernels(path).values() if mixes_channels(tensor)}


def test_kernels_have_half_the_size_and_keep_their_names(compact_onnx: Path, tiny_onnx: Path) -> None:
    compact, plain = kernels(compact_onnx), kernels(tiny_onnx)
    assert compact.keys() == plain.keys()
    for name, tensor in plain.items():
        kind = np.float16 if mixes_channels(tensor) else np.float32
        stored = numpy_helper.to_array(compact[name])
        assert stored.dtype == kind
        np.testing.assert_array_equal(stored, numpy_helper.to_array(tensor).astype(kind))
    halved = sum(mixes_channels(tensor) for tensor in plain.values())
    assert 20 < halved < len(plain)


def test_results_are_those_of_rounded_kernels(compact_onnx: Path, tiny_onnx: Path) -> None:
    """The reference is the float32 file, whose kernels the test rounds itself."""
    rounded = onnx.load(tiny_onnx)
    for tensor in rounded.graph.initializer:
        if tensor.name.endswith(".weight") and mixes_channels(tensor):
            values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    expected, found, plain = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"images": images})
        for model in (rounded.SerializeToString(), compact_onnx.read_bytes(), tiny_onnx.read_bytes())
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(one, other) for one, other in zip(found, plain, strict=True)), "nothing was rounded"


def test_onnx_runtime_folds_the_casts(compact_onnx: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    optimized = []
    for path in (compact_onnx, tiny_onnx):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        optimized.append([node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node])
    assert optimized[0] == optimized[1]


def test_counts_of_parameters_and_operations_do_not_change(compact_onnx: Path, tiny_onnx: Path) -> None:
    of_compact, of_plain = read_layers(compact_onnx), read_layers(tiny_onnx)
    assert sum(one.parameters for one in of_compact) == sum(one.parameters for one in of_plain)
    assert sum(one.multiply_adds for one in of_compact) == sum(one.multiply_adds for one in of_plain)


def test_weights_can_be_read_for_training(compact_onnx: Path, tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    network = load_checkpoint(tiny_checkpoint).network()
    from_compact, from_plain = (read_onnx_weights(path, network) for path in (compact_onnx, tiny_onnx))
    assert from_compact.keys() == from_plain.keys()
    for name, tensor in from_plain.items():
        np.testing.assert_allclose(from_compact[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head", ["grid", "nms"])
def test_every_head_can_be_compact(
    head: Head, exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions
) -> None:
    options = replace(export_options, head=head, compact=True)
    assert mixing_types(exported(tiny_checkpoint, options)) == {TensorProto.FLOAT16}


def test_a_weight_outside_float16_is_an_error(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".weight") and mixes_channels(t))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = 7e4
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(
        ExportError, match=r"has a weight of 7e\+04, but float16 ends at 65504; export without --compact"
    ):
        round_kernels(model)


@pytest.mark.parametrize("other", ["--half", "--int8"])
def test_compact_excludes_half_and_int8(other: str, tiny_checkpoint: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "--compact", other, "--calib", "x"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "exclude each other; give one of them" in result.stderr


def test_the_command_has_the_option(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_checkpoint), "-o", str(tmp_path / "small.onnx"), "--compact"])
    assert result.exit_code == 0, result.stderr
    assert mixing_types(tmp_path / "small.onnx") == {TensorProto.FLOAT16}


@pytest.mark.parametrize("changes", [{"batch": "dynamic"}, {"batch": 3}, {"input_kind": "float-nchw"}, {"opset": 11}])
def test_compact_works_with_other_options(
    changes: dict[str, object], tmp_path: Path, tiny_checkpoint: Path, export_options: ExportOptions
) -> None:
    out = tmp_path / "tiny.onnx"
    metadata = export_file(tiny_checkpoint, out, replace(export_options, compact=True, **changes))  # type: ignore[arg-type]
    assert mixing_types(out) == {TensorProto.FLOAT16}
    assert metadata.proof is not None
    assert (metadata.proof.after_nms is None) == (changes.get("batch") == 3)


def test_the_proof_records_the_effect_of_rounding(compact_onnx: Path, tiny_onnx: Path) -> None:
    found = [read_model_file(path).metadata for path in (compact_onnx, tiny_onnx)]
    rounded, exact = (one.proof.after_nms for one in found if one is not None and one.proof is not None)
    assert rounded is not None
    assert exact is not None
    assert rounded.n_detections > 20
    assert exact.max_score_difference < 1e-5 < rounded.max_score_difference < 0.03
