"""The fine-tuning exercises at tiny settings: training, evaluation, page and image in one call."""

import json
from pathlib import Path

import cv2
import pytest
import typer
from typer.testing import CliRunner

import balloons
import fine_tuning
import penn_fudan
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import config_of
from support.coco_writer import write_coco

APPS = {"penn_fudan": penn_fudan.app, "balloons": balloons.app}
TINY = {"channels": 8, "width_mult": 0.25, "workers": 0, "mosaic": 0.0, "warmup_steps": 1}


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of a quarter of the width, with random weights."""
    monkeypatch.setattr(fine_tuning, "RECIPE", {**fine_tuning.RECIPE, **TINY})


def renamed(folder: Path, class_name: str) -> Path:
    """A dataset of 8 and 3 images with one class of this name."""
    folder.mkdir(parents=True)
    for split, count, seed in (("train", 8, 1), ("val", 3, 2)):
        path = write_coco(folder / f"{split}.json", count=count, seed=seed)
        labels = json.loads(path.read_text())
        labels["categories"][0]["name"] = class_name
        path.write_text(json.dumps(labels))
    return folder


def run(app: typer.Typer, data: Path, out: Path, *arguments: object) -> tuple[int, str, str]:
    common = ["--epochs", "1", "--imgsz", "64", "--batch", "4", "--weights", "none", "--device", "cpu", "--json"]
    folders = ["--data", str(data), "--run", str(out / "run"), "--results", str(out / "results")]
    result = CliRunner().invoke(app, [*common, *folders, *map(str, arguments)], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(("name", "class_name"), [("penn_fudan", "person"), ("balloons", "balloon")])
def test_one_command_trains_measures_and_shows(name: str, class_name: str, tmp_path: Path) -> None:
    data = renamed(tmp_path / "data", class_name)
    code, stdout, stderr = run(APPS[name], data, tmp_path)
    assert code == 0, stderr
    document = json.loads(stdout)
    assert json.loads((tmp_path / "results" / f"{name}.json").read_text()) == document
    assert 0 <= document["AP"] <= document["AP50"] <= 1
    assert (document["train_images"], document["n_images"]) == (8, 3)
    assert (document["training"]["epochs"], document["training"]["input_hw"]) == (1, [64, 64])
    assert document["machine"]["torch"]
    assert str(tmp_path) not in stdout
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pth")
    assert checkpoint.model.class_names == ("background", class_name)
    assert checkpoint.train.data.val == (), "the val split chooses nothing"
    assert f"{document['AP50']:.3f}" in (tmp_path / "run" / "report.html").read_text()
    sheet = cv2.imread(str(tmp_path / "run" / "detections.jpg"))
    assert sheet is not None
    assert sheet.shape == (320, 960, 3)


def test_a_second_call_measures_again_without_training(tmp_path: Path) -> None:
    data = renamed(tmp_path / "data", "person")
    first = run(penn_fudan.app, data, tmp_path)
    written_at = (tmp_path / "run" / "last.pth").stat().st_mtime_ns
    code, stdout, stderr = run(penn_fudan.app, data, tmp_path, "--epochs", 5)
    assert code == 0, stderr
    assert "training is complete" in stderr
    assert (tmp_path / "run" / "last.pth").stat().st_mtime_ns == written_at
    found, before = json.loads(stdout), json.loads(first[1])
    # The load of the machine differs; everything else belongs to the run, not to the second call.
    assert {name: value for name, value in found.items() if name != "machine"} == {
        name: value for name, value in before.items() if name != "machine"
    }


def test_weights_of_other_images_are_not_measured(tmp_path: Path) -> None:
    assert run(penn_fudan.app, renamed(tmp_path / "data", "person"), tmp_path)[0] == 0
    other = tmp_path / "other"
    other.mkdir()
    for split in ("train", "val"):
        write_coco(other / f"{split}.json", count=4, seed=7)
    code, stdout, stderr = run(penn_fudan.app, other, tmp_path)
    assert (code, stdout) == (1, "")
    assert "learned from other images" in stderr


def test_the_recipe_is_one_that_training_takes() -> None:
    config = config_of({**fine_tuning.RECIPE, "train": ("somewhere",)})
    assert config.model.weights == "default"
