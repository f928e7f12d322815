"""mmp-info, run from the command line."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from mmpnet.cli.info import app
from support.onnx_files import save_unsealed


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def foreign_onnx(tmp_path: Path) -> Path:
    """A file from elsewhere: one convolution, and a metadata key of its own."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros((2, 3, 1, 1), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    model.producer_name = "somebody"
    helper.set_model_props(model, {"author": "else"})
    path = tmp_path / "foreign.onnx"
    save_unsealed(model, path)
    return path


def test_our_file_is_described_in_words(tiny_onnx: Path) -> None:
    code, stdout, stderr = run(tiny_onnx, "--all")
    assert (code, stderr) == (0, "")
    for words in ("images 1x64x64x3 uint8", "background, person", "synthetic/train.json", "anchors.stride"):
        assert words in stdout


def test_without_options_the_description_is_short(tiny_onnx: Path) -> None:
    code, stdout, stderr = run(tiny_onnx)
    assert (code, stderr) == (0, "")
    assert len(stdout.splitlines()) <= 10
    for words in (
        "tiny.onnx",
        "64x64 px",
        "uint8 BGR",
        "iou 0.5, max-det ",
        "16 images",
        "Apache-2.0",
    ):
        assert words in stdout
    assert "anchors.stride" not in stdout


def test_without_a_file_it_describes_the_embedded_model() -> None:
    code, stdout, _ = run()
    assert code == 0
    assert "person-320.onnx" in stdout
    assert "AP50 0." in stdout


def test_json_is_one_document_with_everything(tiny_onnx: Path) -> None:
    code, stdout, _ = run(tiny_onnx, "--json")
    document = json.loads(stdout)
    assert code == 0
    assert document["metadata"]["class_names"] == ["background", "person"]
    assert document["inputs"] == [{"name": "images", "type": "tensor(uint8)", "shape": [1, 64, 64, 3]}]
    assert document["size_bytes"] == tiny_onnx.stat().st_size
    assert "layers" not in document
    assert "mmpnet" not in document["properties"]
    code, stdout, _ = run(tiny_onnx, "--layers", "--json")
    document = json.loads(stdout)
    assert document["parameters"] == sum(layer["parameters"] for layer in document["layers"]) > 0
    assert document["multiply_adds"] == sum(layer["multiply_adds"] for layer in document["layers"]) > 0


def test_layers_are_a_table_with_totals_that_explains_folding(tiny_onnx: Path) -> None:
    code, stdout, stderr = run(tiny_onnx, "--layers")
    assert (code, stderr) == (0, "")
    assert "/network/predict/Conv" in stdout
    assert "total" in stdout
    assert "batch norm" in stdout


def test_a_foreign_file_says_what_is_missing_and_still_has_layers(foreign_onnx: Path) -> None:
    code, stdout, _ = run(foreign_onnx)
    assert code == 0
    assert "no 'mmpnet' metadata" in stdout
    assert "somebody" in stdout
    assert "else" in stdout
    code, stdout, _ = run(foreign_onnx, "--json", "--layers")
    document = json.loads(stdout)
    assert document["metadata"] is None
    assert document["properties"] == {"author": "else"}
    assert (document["parameters"], document["multiply_adds"]) == (6, 8 * 8 * 6)


def test_damaged_metadata_of_ours_is_an_error_not_a_foreign_file(foreign_onnx: Path) -> None:
    model = onnx.load(foreign_onnx)
    helper.set_model_props(model, {"mmpnet": '{"schema_version": 99}'})
    save_unsealed(model, foreign_onnx)
    code, stdout, stderr = run(foreign_onnx, "--json")
    assert (code, stdout) == (1, "")
    assert "schema 99" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.onnx"], 1, "absent.onnx"),
        (["F", "--imgsz", "64"], 2, "--layers"),
        (["F", "--layers", "--imgsz", "big"], 2, "HEIGHTxWIDTH"),
        (["person-320", "--layers", "--imgsz", "224"], 2, "person-320.onnx has a fixed input size"),
    ],
)
def test_bad_requests_are_named(foreign_onnx: Path, arguments: list[str], code: int, message: str) -> None:
    found, _, stderr = run(*[foreign_onnx if a == "F" else a for a in arguments])
    assert found == code
    assert message in stderr


def test_what_is_not_a_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    code, stdout, stderr = run(path, "--layers")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ")
