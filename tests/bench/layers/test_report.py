"""The layers' report: every multiply-add and every microsecond is counted exactly once."""

import importlib.util
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from mmpnet.bench.layers.peaks import Peaks, measure_peaks
from mmpnet.bench.layers.report import LayersReport, build_report
from mmpnet.bench.profile.attribution import attribute
from mmpnet.bench.profile.kernels import Kernel, Profile, profile_kernels
from mmpnet.bench.profile.layer_costs import Layer, read_layers
from mmpnet.cli.bench import command as bench_cli
from mmpnet.cli.bench.command import app
from mmpnet.contract.errors import ContractError
from mmpnet.contract.node_names import module_name
from mmpnet.runtime.inference.embedded import model_path

GEMM_MODELS = Path(str(files("mmpnet.bench"))) / "models"

PEAKS = Peaks(fp32_gops=100.0, int8_gops=200.0)
KINDS = {"person-320": "fp32", "person-320-int8": "int8"}


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["layers", *(str(a) for a in arguments)], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def kernel(name: str, op: str, shape: Sequence[int], *, ms: float = 1.0, kind: str = "float") -> Kernel:
    return Kernel(name=name, op=op, input_type=kind, output_shape=tuple(shape), activation_bytes=1000, median_ms=ms)


def layer(name: str, op: str, shape: Sequence[int], multiply_adds: int = 0) -> Layer:
    return Layer(name=name, op=op, output_shape=tuple(shape), parameters=0, multiply_adds=multiply_adds)


@pytest.fixture(autouse=True)
def hasty_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cli, "PEAK_S", 0.0)


@pytest.fixture(scope="module", params=KINDS)
def embedded(request: pytest.FixtureRequest) -> tuple[str, Profile, list[Layer], LayersReport]:
    path = model_path(request.param)
    profile, layers = profile_kernels(path, runs=2), read_layers(path)
    return request.param, profile, layers, build_report(path.name, profile, layers, PEAKS, runs=2)


def test_multiply_adds_are_those_of_mmp_info(embedded: tuple[str, Profile, list[Layer], LayersReport]) -> None:
    _, _, layers, report = embedded
    total = sum(layer.multiply_adds for layer in layers)
    assert report.multiply_adds == sum(row.multiply_adds for row in report.rows) == total
    assert sum(kind.multiply_adds for kind in report.kinds) == total


def test_every_kernels_time_is_in_one_row(embedded: tuple[str, Profile, list[Layer], LayersReport]) -> None:
    _, profile, _, report = embedded
    in_rows = [name for row in report.rows for name in row.kernels]
    assert sorted(in_rows) == sorted(kernel.name for kernel in profile.kernels)
    total_ms = sum(kernel.median_ms for kernel in profile.kernels)
    assert report.kernels_ms == pytest.approx(total_ms, abs=1e-3)
    assert sum(row.ms for row in report.rows) == pytest.approx(total_ms, abs=1e-2)
    assert sum(total.ms for total in report.operators) == pytest.approx(total_ms, abs=1e-2)
    assert sum(total.kernels for total in report.operators) == len(profile.kernels)
    assert report.rows[-1].cumulative_share == pytest.approx(1.0, abs=1e-3)
    assert [row.ms for row in report.rows] == sorted((row.ms for row in report.rows), reverse=True)


def test_rows_have_the_names_of_the_networks_modules(embedded: tuple[str, Profile, list[Layer], LayersReport]) -> None:
    """mmp-export keeps the network's names of weights; the test reads the file with onnx."""
    name, _, _, report = embedded
    graph = onnx.load(model_path(name)).graph
    names = {tensor.name.split(".weight")[0] for tensor in graph.initializer if ".weight" in tensor.name}
    multiplying = [row for row in report.rows if row.multiply_adds]
    assert {row.layer for row in multiplying} == names
    assert all(row.kernels and row.gops is not None and row.bytes > 0 for row in multiplying)


def test_arithmetic_decides_the_peak(embedded: tuple[str, Profile, list[Layer], LayersReport]) -> None:
    name, _, _, report = embedded
    (total,) = report.kinds
    assert total.kind == KINDS[name]
    assert total.peak_gops == PEAKS.of(total.kind)
    assert total.peak_share == pytest.approx(total.gops / total.peak_gops, abs=1e-3)
    assert total.gops == pytest.approx(2 * total.multiply_adds / total.ms / 1e6, abs=0.01)


def test_a_rows_rate_is_two_operations_a_multiply_add() -> None:
    layers = [layer("/network/a/Conv", "Conv", (1, 8, 4, 4), 1_000_000)]
    kernels = (kernel("/network/a/Conv_nchwc", "Conv", (1, 8, 4, 4), ms=0.5),)
    (row,) = build_report("m", Profile(kernels, run_ms=1.0), layers, PEAKS, runs=1).rows
    assert (row.layer, row.kind, row.gops, row.peak_share) == ("a", "fp32", 4.0, 0.04)
    assert row.bytes == 1000 + 4 * 1_000_000 // 16


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("/network/features.7/conv/conv.1/conv.1.0/Conv", "features.7.conv.1.0"),
        ("/network/smooth.2/smooth.2.5/Clip", "smooth.2.5"),
        ("/network/Add_1", "Add_1"),
        ("/shift/Sub", "shift"),
        ("/Slice_4", "Slice_4"),
        ("Resize_1_3", "Resize_1_3"),
        ("/model.0/conv/Conv", "model.0.conv"),
    ],
)
def test_modules_are_called_as_in_pytorch(node: str, module: str) -> None:
    assert module_name(node) == module


def test_an_activation_belongs_to_the_convolution_that_it_is_fused_into() -> None:
    shape = (1, 8, 4, 4)
    layers = [
        layer("/network/s.0/s.0.0/Conv", "Conv", shape, 10),
        layer("/network/s.0/s.0.2/Clip", "Clip", shape),
        layer("/network/s.0/s.0.3/Conv", "Conv", shape, 20),
        layer("/network/s.0/s.0.5/Clip", "Clip", shape),
        layer("/network/Resize_1", "Resize", (1, 8, 8, 8)),
    ]
    kernels = [
        kernel("/network/s.0/s.0.2/Clip_output_0_nchwc", "Conv", shape),
        kernel("/network/s.0/s.0.5/Clip_output_0_nchwc", "Conv", shape),
        kernel("/network/Resize_1_output_0_nchwc", "Upsample", (1, 8, 8, 8)),
        kernel("ReorderOutput", "ReorderOutput", shape),
    ]
    found = {
        part.name: (len(part.kernels), [one.multiply_adds for one in part.layers])
        for part in attribute(kernels, layers)
    }
    assert found == {"s.0.0": (1, [10]), "s.0.3": (1, [20]), "Resize_1": (1, []), "ReorderOutput": (1, [])}


def test_kernels_without_a_layers_name_are_matched_in_order_where_the_size_agrees() -> None:
    """ONNX Runtime 1.15 names quantized convolutions QLinearConv_token_481 and converts them to NHWC."""
    layers = [
        layer("/network/a/Conv", "Conv", (1, 8, 4, 4), 10),
        layer("/network/b/Conv", "Conv", (1, 16, 4, 4), 20),
        layer("/network/c/Conv", "Conv", (1, 8, 4, 4), 30),
    ]
    kernels = [
        kernel("QLinearConv_token_2", "QLinearConv", (1, 4, 4, 16), kind="uint8"),
        kernel("QLinearConv_token_1", "QLinearConv", (1, 4, 4, 8), kind="uint8"),
    ]
    found = {
        part.name: (len(part.kernels), sum(one.multiply_adds for one in part.layers))
        for part in attribute(kernels, layers)
    }
    assert found == {"b": (1, 20), "a": (1, 10), "c": (0, 30)}
    report = build_report("m", Profile(tuple(kernels), run_ms=3.0), layers, PEAKS, runs=1)
    assert report.multiply_adds == 60
    assert [(row.ms, row.gops) for row in report.rows if not row.kernels] == [(0.0, None)]


@pytest.mark.parametrize(
    ("kind", "op", "types"),
    [
        ("fp32", "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT)),
        ("int8", "MatMulInteger", (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)),
    ],
)
def test_the_matrix_products_files_can_be_made_again(kind: str, op: str, types: tuple[int, int, int]) -> None:
    """A file whose weights are computed when it is opened, so that ONNX Runtime packs them and the file stays small."""
    left, weights, product = types
    value = helper.make_tensor("value", weights, [1], [1])
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], ["weights"], name="weights", value=value),
        helper.make_node(op, ["left", "weights"], ["product"], name="gemm"),
    ]
    graph = helper.make_graph(
        nodes,
        f"gemm-{kind}",
        [helper.make_tensor_value_info("left", left, [384, 384])],
        [helper.make_tensor_value_info("product", product, [384, 384])],
        [numpy_helper.from_array(np.array([384, 384], np.int64), "sides")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7, producer_name="mmpnet")
    shipped = GEMM_MODELS / f"gemm-{kind}.onnx"
    assert onnx.load(shipped) == made
    assert shipped.stat().st_size < 1000


def test_peaks_are_measured() -> None:
    peaks = measure_peaks(seconds=0.0)
    assert peaks.fp32_gops > 0
    assert peaks.int8_gops > 0
    assert peaks.memory_gb_s is None


def test_of_two_measurements_the_higher_peaks_count() -> None:
    busy = Peaks(fp32_gops=40.0, int8_gops=180.0)
    both = busy.or_higher(Peaks(fp32_gops=90.0, int8_gops=170.0, memory_gb_s=15.0))
    assert both == Peaks(fp32_gops=90.0, int8_gops=180.0, memory_gb_s=15.0)
    assert busy.or_higher(busy) == busy


def test_json_is_one_document_with_every_row(tiny_onnx: Path) -> None:
    code, stdout, _ = run(tiny_onnx, "--runs", "2", "--top", "1", "--json")
    assert code == 0
    report = msgspec.json.decode(stdout, type=LayersReport)
    assert len(report.rows) > 10
    assert report.multiply_adds == sum(layer.multiply_adds for layer in read_layers(tiny_onnx))
    assert json.loads(stdout)["report"] == "mmp-bench layers"


def test_the_table_shows_the_slowest_and_the_totals(tiny_onnx: Path) -> None:
    code, stdout, stderr = run(tiny_onnx, "--runs", "2", "--top", "3")
    assert (code, stderr) == (0, "")
    for words in ("more", "operator", "of the matrix product's", "multiply-adds"):
        assert words in stdout


def test_the_roofline_is_drawn(tiny_onnx: Path, tmp_path: Path) -> None:
    plot = tmp_path / "roofline.png"
    code, _, stderr = run(tiny_onnx, "--runs", "2", "--plot", plot)
    assert code == 0, stderr
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"saved {plot}" in stderr


def test_a_plot_without_matplotlib_is_one_line(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, stdout, stderr = run(tiny_onnx, "--plot", tmp_path / "roofline.png")
    assert (code, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert "pip install 'mmpnet[eval]'" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.onnx"], "absent.onnx: no such model file"),
        (["--plot", "roofline.gif"], "roofline.gif: ends in .gif"),
        (["--plot", "absent/roofline.png"], "there is no folder absent"),
    ],
)
def test_bad_requests_are_one_line(arguments: list[str], message: str) -> None:
    code, stdout, stderr = run(*arguments)
    assert (code, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (TensorProto.FLOAT, ["n", 3, "h", "w"], "has a free size"),
        (TensorProto.INT64, [1, 3], r"has type tensor\(int64\)"),
    ],
)
def test_inputs_that_are_not_images_are_refused(
    tmp_path: Path, kind: int, shape: list[int | str], message: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    with pytest.raises(ContractError, match=message):
        profile_kernels(path, runs=1)


def test_a_file_that_does_not_run_on_noise_is_one_line(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([7, -1], np.int64), "shape")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    with pytest.raises(
        ContractError, match=r"model\.onnx: ONNX Runtime cannot run it on random pixels \(.+\); try another file"
    ):
        profile_kernels(path, runs=1)
    path.write_bytes(b"not ONNX")
    with pytest.raises(
        ContractError, match=r"model\.onnx: ONNX Runtime cannot run it on random pixels \(.+\); try another file"
    ):
        profile_kernels(path, runs=1)
