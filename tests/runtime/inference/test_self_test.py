"""The self-test: the same frame everywhere, and a device with other results is detected."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from mmpnet.cli.run.command import app
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError, SelfTestError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import METADATA_KEY
from mmpnet.contract.records import ExpectedDetection, SelfTestRecord
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.self_test import (
    compare,
    record_self_test,
    run_self_test,
    self_test_frame_hw,
    synthetic_frame,
)
from support.onnx_files import save_unsealed

RECORD = SelfTestRecord(
    seed=0,
    frame_hw=(64, 64),
    conf=0.2,
    expected=(ExpectedDetection((10, 10, 30, 50), 0.8, 1), ExpectedDetection((40, 8, 60, 40), 0.21, 1)),
    max_score_difference=0.02,
    min_iou=0.9,
)
DIGESTS = {0: "3e8936ffdaf11052", 1: "4dacf9ae1b236e1e", 17: "958f64d99f61b6c9"}
"""Hash of the frame's bytes; it must not depend on the version of Python or numpy."""


def found(*rows: tuple[float, ...]) -> Detections:
    """Rows of x1, y1, x2, y2, score, class id."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(xyxy=table[:, :4], score=table[:, 4], class_id=table[:, 5].astype(np.int64))


def test_the_frame_is_the_same_bytes_on_every_machine() -> None:
    digests = {seed: hashlib.sha256(synthetic_frame(seed, (96, 128)).tobytes()).hexdigest()[:16] for seed in (0, 1, 17)}
    assert digests == DIGESTS
    assert synthetic_frame(3, (40, 56)).shape == (40, 56, 3)


def test_small_differences_pass_and_are_measured() -> None:
    result = compare(RECORD, found((10, 10, 30, 51, 0.79, 1)))  # the box near the threshold may be missing
    assert result.n_unmatched == 0
    assert result.n_expected == 2
    assert result.max_score_difference == pytest.approx(0.01, abs=1e-6)
    assert result.min_iou == pytest.approx(40 / 41, abs=1e-3)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(10, 10, 30, 50, 0.7, 1)],
        [(10, 10, 30, 50, 0.8, 2)],
        [(14, 10, 34, 50, 0.8, 1)],
        [(10, 10, 30, 50, 0.8, 1), (0, 0, 9, 9, 0.5, 1)],
    ],
    ids=["nothing", "score", "class", "place", "one too many"],
)
def test_every_kind_of_mismatch_is_counted(rows: list[tuple[float, ...]]) -> None:
    assert compare(RECORD, found(*rows)).n_unmatched >= 1


def test_an_exported_file_passes_where_it_was_exported(tiny_onnx: Path) -> None:
    detector = Detector(tiny_onnx, provider="cpu", threads=1)
    before = detector.thresholds
    result = run_self_test(detector)
    assert result.n_expected >= 1
    assert result.max_score_difference < 1e-5
    assert detector.thresholds == before


def with_changed_weights(source: Path, target: Path) -> Path:
    model = onnx.load(source)
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "predict.weight")
    kernel.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(kernel) * 0.7, kernel.name))
    save_unsealed(model, target)
    return target


def without_self_test(source: Path, target: Path) -> Path:
    model = onnx.load(source)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = msgspec.json.encode({**msgspec.json.decode(entry.value), "self_test": None}).decode()
    save_unsealed(model, target)
    return target


def test_a_device_that_computes_something_else_is_refused_at_the_start(tiny_onnx: Path, tmp_path: Path) -> None:
    broken = with_changed_weights(tiny_onnx, tmp_path / "broken.onnx")
    with pytest.raises(SelfTestError, match="self-test failed on cpu"):
        run_self_test(Detector(broken, provider="cpu", threads=1))
    for arguments in (["--self-test"], ["--source", str(tmp_path), "--no-show"]):
        (tmp_path / "image.png").write_bytes(b"")
        result = CliRunner().invoke(app, [str(broken), *arguments])
        assert result.exit_code == 1
        assert "self-test failed" in result.stderr
        assert "Traceback" not in result.stderr


def test_the_command_says_what_it_checked(tiny_onnx: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tiny_onnx), "--self-test"])
    assert result.exit_code == 0
    assert "self-test passed" in result.stderr
    result = CliRunner().invoke(app, [str(tiny_onnx), "--self-test", "--camera", "0"])
    assert result.exit_code == 2
    bare = without_self_test(tiny_onnx, tmp_path / "bare.onnx")
    with pytest.raises(ContractError, match="has no self-test"):
        run_self_test(Detector(bare, provider="cpu", threads=1))


@pytest.mark.parametrize("best", [0.9, 0.05])
def test_the_best_box_cannot_go_missing_unseen(best: float) -> None:
    def detect_at(conf: float) -> Callable[[np.ndarray], Detections]:
        return lambda _: found((10, 10, 30, 50, best, 1)) if best >= conf else found()

    record = record_self_test(detect_at, input_hw=(32, 32), conf=None, tolerances=(0.1, 0.9), seeds=2)
    assert compare(record, found((10, 10, 30, 50, best, 1))).n_unmatched == 0
    assert compare(record, found()).n_unmatched == 1


def test_the_seed_with_the_best_score_is_kept() -> None:
    frame_hw = self_test_frame_hw((32, 32))
    scores = {synthetic_frame(seed, frame_hw).tobytes(): 0.1 * seed for seed in range(5)}
    scores[synthetic_frame(3, frame_hw).tobytes()] = 0.9

    def detect_at(conf: float) -> Callable[[np.ndarray], Detections]:
        return lambda frame: found((1, 1, 9, 9, scores[frame.tobytes()], 1)) if conf <= 0.9 else found()

    record = record_self_test(detect_at, input_hw=(32, 32), conf=None, tolerances=(0.1, 0.9), seeds=5)
    assert record.seed == 3
    assert record.frame_hw == frame_hw
    assert record.conf == pytest.approx(0.45)


def test_the_frame_is_resized_and_padded() -> None:
    """A processor that resizes to other bytes must be detected."""
    for input_hw in ((320, 320), (192, 320), (64, 64)):
        transform = Letterbox(input_hw).fit(self_test_frame_hw(input_hw))
        assert transform.resized_hw != transform.frame_hw
        assert transform.resized_hw != input_hw
