"""Mistakes as a list, and as images with labels to correct."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpnet.datasets.load import load_dataset
from mmpnet.train.artifacts.config import config_of
from mmpnet.train.cli.check import advice
from mmpnet.train.cli.val import app
from mmpnet.train.run.anchor_fit import Coverage


def test_mistakes_are_listed_and_copied_with_their_labels(
    tiny_onnx: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    listed, copied = tmp_path / "mistakes.json", tmp_path / "wrong"
    arguments = [tiny_onnx, "--data", dataset_folder, "--threads", 1, "--bootstrap", 0]
    arguments += ["--mistakes", listed, "--copy-mistakes", copied]
    result = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.stderr
    found = json.loads(listed.read_text())
    whole = load_dataset([dataset_folder], "val")
    kinds = [one["kind"] for one in found["mistakes"]]
    assert found["hits"] + kinds.count("miss") == whole.num_boxes
    wrong = {Path(one["image"]).name for one in found["mistakes"]}
    template = load_dataset([copied], "train")
    for box in json.loads((copied / "labels.json").read_text())["annotations"]:
        assert box["segmentation"] == [], "CVAT refuses a box without this field"
    assert {image.path.name.partition("-")[2] for image in template.images} == wrong
    of_name = {image.path.name: image for image in whole.images}
    for image in template.images:
        original = of_name[image.path.name.partition("-")[2]]
        assert image.boxes_xyxy.tolist() == original.boxes_xyxy.tolist()
        assert image.path.read_bytes() == original.path.read_bytes()
    again = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert again.exit_code == 1
    assert again.stderr.splitlines() == [f"error: {copied}: is not empty; give --copy-mistakes a new folder"], (
        "it is refused before the model and the images are read"
    )


@pytest.mark.parametrize(
    ("small", "anchors", "expected"),
    [
        (Coverage("small", 50, 0.4, 0.69, 0.0), "given", ["31% of small boxes fit no anchor: try --imgsz 416 or"]),
        (Coverage("small", 50, 0.4, 0.95, 0.0), "given", []),
        (Coverage("small", 3, 0.4, 0.0, 0.0), "given", []),
        (Coverage("small", 50, 0.4, 0.69, 0.0), "auto", ["31% of small boxes fit no anchor: try --imgsz 416"]),
    ],
)
def test_advice_names_what_to_try(small: Coverage, anchors: str, expected: list[str]) -> None:
    fits = Coverage("large", 50, 0.8, 1.0, 0.0)
    found = advice([small, fits, fits], config_of({"anchors": anchors}))
    assert len(found) == len(expected)
    for line, text in zip(found, expected, strict=True):
        assert line.startswith(f"advice: {text}")
        assert ("--anchors auto" in line) == (anchors == "given")
