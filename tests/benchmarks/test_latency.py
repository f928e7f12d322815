"""latency.py: order of the turns, content of the cells, and a real run with consistent numbers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import latency
from harness.frames import camera_frame
from harness.latency import spread_text, stage_facts, times_in_turns
from harness.models import files_by_name
from mmpnet.bench.latency import STAGES
from mmpnet.bench.statistics import summarize
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.inference.embedded import model_path

QUICK = ("--frames", "22", "--repeats", "3", "--frame-size", "160x120")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(latency.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


class Counting:
    """Replaces a detector: reports a network time that increases by this many ms per frame."""

    def __init__(self, name: str, first_ms: float, calls: list[str]) -> None:
        self._name, self._ms, self._calls = name, first_ms, calls

    def timed(self, frame_bgr: Any) -> tuple[None, StageTimes]:
        del frame_bgr
        self._calls.append(self._name)
        self._ms += 1
        return None, StageTimes(preprocess_ms=0.5, infer_ms=self._ms, postprocess_ms=0.25)


def test_turns_are_taken_frame_by_frame_and_land_in_their_cells() -> None:
    calls: list[str] = []
    frame = np.zeros((4, 6, 3), np.uint8)
    contestants: Any = [(Counting(name, first_ms, calls), frame) for name, first_ms in (("a", 100.0), ("b", 200.0))]
    times_ms = times_in_turns(contestants, frames=4, repeats=3, what="timing")
    assert times_ms.shape == (2, 3, 4, len(STAGES))
    infer_ms = times_ms[..., STAGES.index("infer")]
    np.testing.assert_array_equal(infer_ms[0].ravel(), 101 + np.arange(12))
    np.testing.assert_array_equal(infer_ms[1].ravel(), 201 + np.arange(12))
    np.testing.assert_array_equal(times_ms[..., STAGES.index("preprocess")], 0.5)
    np.testing.assert_array_equal(times_ms[..., STAGES.index("postprocess")], 0.25)
    rounds = [tuple(calls[at : at + 2]) for at in range(0, len(calls), 2)]
    assert {frozenset(one) for one in rounds} == {frozenset("ab")}, "every frame is everybody's, once"
    assert set(rounds) == {("a", "b"), ("b", "a")}, "nobody is always first"


@pytest.mark.parametrize(
    ("repeats_ms", "cell"),
    [([[10.0], [11.0]], "9.5% noisy"), ([[10.0], [10.3]], "3.0%"), ([[10.0, 12.0]], "-")],
    ids=["medians 9.5 % apart", "medians 3 % apart", "one repeat says nothing"],
)
def test_repeats_that_disagree_are_marked(repeats_ms: list[list[float]], cell: str) -> None:
    facts = stage_facts(summarize([np.array(one) for one in repeats_ms]))
    assert spread_text(facts) == cell
    assert facts["noisy"] is (None if cell == "-" else "noisy" in cell)


def test_models_of_one_name_are_refused(tmp_path: Path) -> None:
    assert files_by_name(["person-224-int8", tmp_path / "other.onnx"]) == {
        "person-224-int8": model_path("person-224-int8"),
        "other": tmp_path / "other.onnx",
    }
    with pytest.raises(MmpnetError, match="different names"):
        files_by_name([tmp_path / "a" / "same.onnx", tmp_path / "b" / "same.onnx"])


def test_a_frame_is_as_wide_as_requested() -> None:
    assert camera_frame("96x64").shape == (64, 96, 3)
    with pytest.raises(typer.BadParameter, match="WIDTHxHEIGHT"):
        camera_frame("wide")


def test_a_run_says_what_was_measured_and_its_numbers_fit_together(tmp_path: Path) -> None:
    figure = tmp_path / "latency.png"
    threads = ("--threads", 1, "--threads", 0, "--threads", 1)
    code, stdout, stderr = run("person-224-int8", *QUICK, *threads, "--figure", figure, "--json")
    assert code == 0
    result = json.loads(stdout)
    assert [(row["model"], row["threads"]) for row in result["latencies"]] == [
        ("person-224-int8", 1),
        ("person-224-int8", 0),
    ]
    for row in result["latencies"]:
        whole, network = row["end_to_end"], row["infer"]
        assert whole["samples"] == network["samples"] == 66
        assert len(whole["repeats_ms"]) == 3
        assert 0 < network["median_ms"] < whole["median_ms"]
        assert whole["percentiles_ms"]["p50"] <= whole["percentiles_ms"]["p90"]
        assert (whole["percentiles_ms"]["p95"], whole["percentiles_ms"]["p99"]) == (None, None)
        assert row["detections"] >= 1, "the sample image has a person"
    file = model_path("person-224-int8")
    assert result["models"]["person-224-int8"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert result["machine"]["usable_cores"] > 0
    assert "66 samples are too few; needed for p95 130, p99 662" in stderr
    drawn = cv2.imread(str(figure))
    assert drawn is not None
    assert drawn.std() > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("absent.onnx",), "absent.onnx: no such model file"),
        (("--figure", "latency.jpg"), "expected .png"),
        (("--figure", "nowhere/latency.png"), "there is no folder"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    code, stdout, stderr = run(*arguments, *QUICK, "--threads", 1)
    assert (code, stdout) == (1, "")
    assert said in stderr
    assert len(stderr.strip().splitlines()) == 1
