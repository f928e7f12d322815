"""mmp-train --check reports all faults of the data at once, and trains nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpnet.train.cli.train import app
from support.coco_writer import write_coco


def check(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["--check", "--imgsz", "64", *arguments], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_data_without_faults_exits_with_0_and_one_json_document(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = check("--data", str(dataset_folder), "--json", "--sizes", "16,40", "--ratios", "1,2.5")
    assert code == 0, stderr
    assert "anchors on these boxes" in stderr
    document = json.loads(stdout)
    assert set(document) == {"train", "val", "anchor_spec", "anchors", "shared_pictures"}
    assert (document["train"]["n_pictures"], document["val"]["n_pictures"]) == (16, 6)
    assert document["train"]["files_checked"]
    assert document["train"]["faults"] == document["val"]["faults"] == document["shared_pictures"] == []
    assert document["anchor_spec"] == {"sizes_px": [16, 40], "aspect_ratios": [1, 2.5], "stride": 8}
    assert document["anchors"][-1]["boxes"] == document["train"]["boxes_per_class"]["person"]
    assert list(tmp_path.iterdir()) == [], "nothing is trained or written"


def test_every_fault_of_labels_and_files_is_listed_and_exits_with_1(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "train.json", count=6, seed=3)
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["category_id"] = 99
    path.write_text(json.dumps(content))
    damaged = tmp_path / "images" / "train_005.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    code, stdout, stderr = check("--data", str(path), "--json")
    assert code == 1
    faults = json.loads(stdout)["train"]["faults"]
    assert len(faults) == 3
    for expected in ("annotations[0]", "category_id 99", "train_005.png: the image is cut short"):
        assert sum(expected in fault for fault in faults) == 1
        assert expected in stderr


def test_a_fault_of_the_validation_data_counts_too(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", count=4, seed=3)
    write_coco(tmp_path / "val.json", count=4, seed=4)
    (tmp_path / "images" / "val_002.png").unlink()
    code, stdout, _ = check("--data", str(tmp_path), "--json")
    assert code == 1
    assert json.loads(stdout)["train"]["faults"] == []
    assert "val_002.png" in json.loads(stdout)["val"]["faults"][0]


@pytest.mark.parametrize("crowds", [False, True])
def test_no_boxes_are_a_fault_but_with_a_teacher(tmp_path: Path, crowds: bool) -> None:
    for name in ("train", "val"):
        path = write_coco(tmp_path / f"{name}.json", count=4, seed=3)
        content = json.loads(path.read_text())
        annotations = [{**one, "iscrowd": 1} for one in content["annotations"]] if crowds else []
        path.write_text(json.dumps({**content, "annotations": annotations}))
    code, stdout, _ = check("--data", str(tmp_path), "--json")
    document = json.loads(stdout)
    assert code == 1
    assert "no boxes to learn from" in document["train"]["faults"][0]
    assert "no boxes to measure against" in document["val"]["faults"][0]
    teacher = tmp_path / "teacher.onnx"
    code, _, stderr = check("--data", str(tmp_path / "train.json"), "--teacher", str(teacher))
    assert code == 2
    assert "teacher.onnx: no such file" in stderr
    teacher.touch()
    code, _, stderr = check("--data", str(tmp_path / "train.json"), "--teacher", str(teacher))
    assert code == 0, stderr


def test_images_without_labels_are_looked_at_too(dataset_folder: Path, tmp_path: Path) -> None:
    images = str(dataset_folder / "images")
    code, _, stderr = check("--data", str(dataset_folder), "--unlabeled", images)
    assert code == 0, stderr
    assert "images without labels" in " ".join(stderr.split())
    code, _, stderr = check("--data", str(dataset_folder), "--unlabeled", str(tmp_path / "absent"))
    assert code == 1
    assert "absent: no such folder" in " ".join(stderr.split())


def test_images_to_learn_from_and_to_watch_are_a_warning(dataset_folder: Path) -> None:
    path = str(dataset_folder / "train.json")
    code, stdout, stderr = check("--data", path, "--val", path, "--json")
    assert code == 0
    assert len(json.loads(stdout)["shared_pictures"]) == 16
    assert stderr.count("warning:") == 16


def test_suggested_anchors_are_the_ones_that_are_looked_at(dataset_folder: Path) -> None:
    given = ["--data", str(dataset_folder), "--json", "--sizes", "2,300", "--ratios", "0.1,9"]
    _, stdout, _ = check(*given)
    as_given = json.loads(stdout)
    code, stdout, stderr = check(*given, "--anchors", "auto")
    assert code == 0
    assert "anchors from the data" in stderr
    suited = json.loads(stdout)
    assert len(suited["anchor_spec"]["sizes_px"]) == len(suited["anchor_spec"]["aspect_ratios"]) == 2
    assert suited["anchors"][-1]["mean_best_iou"] > as_given["anchors"][-1]["mean_best_iou"] + 0.2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "absent"], 1, "absent: no such file or folder"),
        (["--data", "D", "--data", "D"], 1, "is given twice"),
        (["--data", "D", "--classes", "cat"], 1, "has no class 'cat'"),
        (["--data", "D", "--imgsz", "100"], 2, "multiples of the stride"),
    ],
)
def test_what_leaves_nothing_to_look_at_is_one_line(
    dataset_folder: Path, arguments: list[str], code: int, message: str
) -> None:
    found, stdout, stderr = check(*[str(dataset_folder) if a == "D" else a for a in arguments], "--json")
    assert found == code
    assert message in stderr
    assert stdout == ""
