"""mmp-val with several data sets, sources and models."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpnet.train.cli.val import app
from support.coco_writer import write_coco


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--threads", "1"], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def measured(*arguments: object) -> dict[str, Any]:
    code, stdout, stderr = run(*arguments, "--json")
    assert code == 0, stderr
    found: dict[str, Any] = json.loads(stdout)
    return found


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images of two sources."""
    path = write_coco(tmp_path_factory.mktemp("streets") / "val.json", count=20, seed=4)
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["source"] = "cam a" if image["id"] <= 12 else "cam b"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def other_onnx(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> Path:
    path = tmp_path_factory.mktemp("other") / "other.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    return path


def test_one_model_and_one_set_keep_their_document_and_gain_intervals(tiny_onnx: Path, streets: Path) -> None:
    found = measured(tiny_onnx, "--data", streets, "--bootstrap", 30)
    assert list(found)[:12] == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    assert list(found)[12:19] == [
        "voc07_AP50",
        "voc_AP50",
        "quasi_iou",
        "best_f1",
        "best_f1_conf",
        "n_images",
        "n_boxes",
    ]
    assert list(found)[19:] == ["intervals", "bootstrap"]
    low, high = found["intervals"]["AR100"]
    assert low <= found["AR100"] <= high
    assert found["bootstrap"] == {"resamples": 30, "seed": 0, "level": 0.95}


def test_a_seed_and_no_bootstrap(tiny_onnx: Path, streets: Path) -> None:
    once, again, other = (measured(tiny_onnx, "--data", streets, "--bootstrap", 20, "--seed", n) for n in (1, 1, 2))
    assert once == again
    assert once["intervals"]["AR100"] != other["intervals"]["AR100"]
    without = measured(tiny_onnx, "--data", streets, "--bootstrap", 0)
    assert without["bootstrap"] is None
    assert set(without["intervals"].values()) == {None}


def test_several_sets_and_sources_are_reported_each_and_together(
    tiny_onnx: Path, streets: Path, dataset_folder: Path
) -> None:
    found = measured(tiny_onnx, "--data", streets, "--data", dataset_folder, "--by-source", "--bootstrap", 10)
    assert found["n_images"] == 26
    streets_name, folder_name = f"{streets.parent.name}/val.json", f"{dataset_folder.name}/val.json"
    parts = {(part["data"], part["source"]): part for part in found["parts"]}
    assert [(key, part["n_images"]) for key, part in parts.items()] == [
        ((None, None), 26),
        ((streets_name, None), 20),
        ((streets_name, "cam a"), 12),
        ((streets_name, "cam b"), 8),
        ((folder_name, None), 6),
        ((folder_name, "synthetic"), 6),
    ]
    alone = measured(tiny_onnx, "--data", dataset_folder, "--bootstrap", 0)
    assert {name: parts[folder_name, None][name] for name in ("AP", "AR100", "best_f1")} == {
        name: alone[name] for name in ("AP", "AR100", "best_f1")
    }


def test_several_models_stand_side_by_side_with_a_verdict(
    tiny_onnx: Path, other_onnx: Path, streets: Path, tmp_path: Path
) -> None:
    found = measured(tiny_onnx, other_onnx, "--data", streets, "--bootstrap", 10)
    assert [one["model"] for one in found["models"]] == ["tiny.onnx", "other.onnx"]
    (difference,) = found["differences"]
    assert difference["AR100"] == {"difference": 0.0, "interval": [0.0, 0.0], "differs": False}
    page = tmp_path / "r.html"
    code, stdout, stderr = run(tiny_onnx, other_onnx, "--data", streets, "--bootstrap", 10, "--report", page)
    assert code == 0, stderr
    sentence = "other.onnx minus tiny.onnx: AP +0.000 (95% interval +0.000 to +0.000), no significant difference"
    assert sentence in stdout
    html = page.read_text(encoding="utf-8")
    assert sentence in html
    assert "95% interval" in html
    assert "<td>other.onnx</td>" in html


def test_a_checkpoint_and_its_file_are_compared_and_named_apart(
    tiny_checkpoint: Path, tiny_onnx: Path, streets: Path
) -> None:
    code, stdout, stderr = run(tiny_checkpoint, tiny_onnx, "--data", streets, "--bootstrap", 5, "--device", "cpu")
    assert code == 0, stderr
    assert "tiny.onnx minus tiny.pth: AP +0.000" in stdout


def test_files_of_one_name_are_named_by_their_paths(tiny_onnx: Path, streets: Path, tmp_path: Path) -> None:
    twin = tmp_path / tiny_onnx.name
    twin.write_bytes(tiny_onnx.read_bytes())
    found = measured(tiny_onnx, twin, "--data", streets, "--bootstrap", 0)
    assert [one["model"] for one in found["models"]] == [str(tiny_onnx), str(twin)]
    assert found["differences"] == []


def test_a_file_given_twice_and_sources_that_are_not_there_are_errors(tiny_onnx: Path, streets: Path) -> None:
    code, _, stderr = run(tiny_onnx, tiny_onnx, "--data", streets)
    assert code == 2
    assert "is given twice" in stderr
    content = json.loads(streets.read_text())
    for image in content["images"]:
        del image["source"]
    plain = streets.with_name("plain.json")
    plain.write_text(json.dumps(content))
    code, _, stderr = run(tiny_onnx, "--data", plain, "--by-source")
    assert code == 1
    assert "no image has a `source` in its entry" in " ".join(stderr.split())


def test_several_classes_have_a_row_each(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "two.pth", class_names=("background", "person", "dog"))
    data = write_coco(tmp_path / "val.json", count=12, seed=4)
    content = json.loads(data.read_text())
    content["categories"].append({"id": 9, "name": "dog"})
    for annotation in content["annotations"][::3]:
        annotation["category_id"] = 9
    data.write_text(json.dumps(content))
    arguments = [str(model), "--data", str(data), "--device", "cpu", "--bootstrap", "0"]
    result = CliRunner().invoke(app, [*arguments, "--json"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.stderr
    classes = json.loads(result.stdout)["classes"]
    assert [one["name"] for one in classes] == ["person", "dog"]
    n_dogs = len(content["annotations"][::3])
    assert [one["n_boxes"] for one in classes] == [len(content["annotations"]) - n_dogs, n_dogs]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"}).stdout
    for one in classes:
        assert re.search(rf"{one['name']} +{one['n_boxes']} +{one['voc_AP50']:.3f}", shown)
