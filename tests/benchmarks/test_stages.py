"""stages.py: shares equal those computed by hand, and the stages of a real run add up."""

import json
import statistics
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import stages
from harness.stages import budget


def frames(*rows: tuple[float, float, float]) -> np.ndarray:
    """(preprocess, infer, postprocess) of each frame -> ms (frames, stages), end to end their sum."""
    return np.array([[*row, sum(row)] for row in rows])


def test_the_share_is_of_medians_and_the_median_of_the_repeats() -> None:
    steady = frames((1.0, 10.0, 0.5), (1.0, 10.0, 0.5), (1.0, 10.0, 0.5))
    slow_network = frames((1.0, 20.0, 0.5), (1.0, 20.0, 0.5), (1.0, 20.0, 0.5))
    found = budget(np.stack([steady, slow_network]))
    assert found["shares_of_repeats"] == [0.15, 0.075]
    assert found["before_and_after_per_infer"] == pytest.approx(0.1125)
    assert found["within_aim"] is False
    assert found["stages_ms"]["infer"]["median_ms"] == 15.0
    assert found["stages_ms"]["infer"]["noisy"] is True
    assert found["stages_ms"]["preprocess"]["noisy"] is False
    assert found["stages_ms"]["end_to_end"]["repeats_ms"] == (11.5, 21.5)


def test_before_and_after_are_added_frame_by_frame() -> None:
    """The separate medians would be 1 and 1; for most frames one of the two is 9."""
    found = budget(frames((1.0, 50.0, 9.0), (1.0, 50.0, 1.0), (9.0, 50.0, 1.0))[None])
    assert found["before_and_after_per_infer"] == pytest.approx(10 / 50)


@pytest.mark.parametrize(("before_ms", "within"), [(0.5, True), (0.51, False)])
def test_the_aim_is_a_tenth_of_the_inference(before_ms: float, within: bool) -> None:
    assert budget(frames((before_ms, 10.0, 0.5))[None])["within_aim"] is within


def test_a_run_measures_every_size(tmp_path: Path) -> None:
    figure = tmp_path / "stages.png"
    sizes = ("--frame-size", "64x48", "--frame-size", "1280x720")
    arguments = ["person-224-int8", *sizes, "--frames", "6", "--repeats", "3", "--figure", str(figure), "--json"]
    result = CliRunner().invoke(stages.app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["model"]["file"] == "person-224-int8.onnx"
    assert [row["frame"] for row in document["sizes"]] == ["64x48", "1280x720"]
    for row in document["sizes"]:
        times = {name: stage["median_ms"] for name, stage in row["stages_ms"].items()}
        assert {stage["samples"] for stage in row["stages_ms"].values()} == {18}
        assert 0 < times["preprocess"] < times["infer"] < times["end_to_end"]
        assert 0 < times["postprocess"] < times["infer"]
        assert len(row["shares_of_repeats"]) == 3
        assert row["before_and_after_per_infer"] == statistics.median(row["shares_of_repeats"])
        assert row["within_aim"] is (row["before_and_after_per_infer"] <= 0.1)
    drawn = cv2.imread(str(figure))
    assert drawn is not None
    assert drawn.std() > 10


def test_a_size_that_is_invalid_is_a_wrong_flag() -> None:
    result = CliRunner().invoke(stages.app, ["--frame-size", "big"], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "WIDTHxHEIGHT" in result.stderr
