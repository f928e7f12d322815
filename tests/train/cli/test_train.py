"""mmp-train and mmp-val as a user types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import mmpnet.train
from mmpnet.contract.option_fields import option_fields
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.export.cli.command import app as export_app
from mmpnet.train.artifacts.config import RECIPE, TrainConfig
from mmpnet.train.artifacts.options import SECTIONS
from mmpnet.train.choices import FINE_TUNING
from mmpnet.train.cli.train import app as train_app
from mmpnet.train.cli.val import app as val_app
from support.coco_writer import write_coco
from support.interruption import environment_of_tests

QUICK = ["--weights", "none", "--imgsz", "64", "--width-mult", "0.25", "--channels", "16", "--batch", "4"]
COMMON = [*QUICK, "--device", "cpu", "--workers", "0", "--warmup-steps", "1"]

NO_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
"""


def run(app: object, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})  # type: ignore[arg-type]
    return result.exit_code, result.stdout, result.stderr


def error_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


def test_train_then_both_files_evaluate_alike(dataset_folder: Path, tmp_path: Path, tiny_onnx: Path) -> None:
    code, _, stderr = run(
        train_app, "--data", str(dataset_folder), *COMMON, "--epochs", "1", "--project", str(tmp_path), "--name", "r"
    )
    assert code == 0, stderr
    assert "16 images" in stderr
    code, stdout, stderr = run(val_app, str(tmp_path / "r" / "best.pth"), "--data", str(dataset_folder), "--json")
    assert code == 0, stderr
    numbers = json.loads(stdout)
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "quasi_iou", "n_images"} <= set(numbers)
    code, stdout, stderr = run(val_app, str(tiny_onnx), "--data", str(dataset_folder / "val.json"), "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["n_images"] == 6


CTRL_C_AFTER_A_STEP = """
from mmpnet.train.cli.train import main
from support.interruption import stopped_after
with stopped_after(1):
    main()
"""


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_finishes(dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(dataset_folder), *COMMON, "--epochs", "1", "--project", str(tmp_path), "--name", "r"]
    command = [sys.executable, "-c", CTRL_C_AFTER_A_STEP, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of_tests(), check=False)
    assert done.returncode == 130
    assert re.search(r"mmp-train --resume \S*r", done.stderr)
    assert "Traceback" not in done.stderr
    code, _, stderr = run(train_app, "--resume", str(tmp_path / "r"), "--epochs", "3")
    assert code == 2
    assert "--epochs" in stderr
    code, _, stderr = run(train_app, "--resume", str(tmp_path / "r"))
    assert code == 0, stderr
    assert (tmp_path / "r" / "best.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data"),
        (["--data", "D", "--imgsz", "big"], "HEIGHTxWIDTH"),
        (["--data", "D", "--imgsz", "100"], "multiples of the stride"),
        (["--data", "D", "--sizes", "a,b"], "--sizes"),
        (["--data", "D", "--lr", "0"], "lr must be above 0"),
        (["--data", "D", "--lr", "nan"], "lr must be above 0"),
        (["--data", "D", "--lr", "1e38"], "lr must be above 0 and at most 1e+06"),
        (["--data", "D", "--sizes", "16,1e30"], "sizes must be in [1, 10000]"),
        (["--data", "D", "--ratios", "1,1e9"], "ratios must be in [0.01, 100]"),
        (["--data", "D", "--stride", "4"], "stride must be 8 or 16"),
        (["--data", "D", "--width-mult", "inf"], "width-mult"),
        (["--data", "D", "--channels", "99999999"], "--channels"),
        (["--data", "D", "--neg-ratio", "inf"], "neg-ratio must be in"),
        (["--data", "D", "--weight-decay", "nan"], "weight-decay"),
        (["--data", "D", "--seed", "99999999999999999999"], "seed"),
        (["--data", "D", "--batch", "1", "--imgsz", "32"], "more than one value"),
        (["--data", "D", "--group-weight", "street"], "PATTERN=WEIGHT"),
        (["--data", "D", "--weights", "none", "--freeze", "3"], "freeze"),
        (["--data", "D", "--negatives", "some"], "focal"),
        (["--data", "D", "--epoch", "3"], "--epochs"),
        (["--data", "D", "--mosaic", "2"], "--mosaic"),
        (["--data", "D", "--mosaic", "nan"], "mosaic"),
        (["--data", "D", "--multi-scale", "0.6"], "--multi-scale"),
        (["--data", "D", "--multi-scale", "0.25", "--imgsz", "64"], "multi-scale 0.25 of 64 px is less"),
        (["--data", "D", "--multi-scale", "0.5", "--imgsz", "64", "--batch", "1"], "more than one value"),
        (["--data", "D", "--unlabeled", "D"], "give --teacher"),
        (["--data", "D", "--unlabelled", "D"], "give --teacher"),  # its earlier spelling
        (["--data", "D", "--teacher-least-score", "0"], "--teacher-least-score"),
        (["--data", "D", "--teacher-flip"], "teacher-flip: no teacher is given"),
        (["--data", "D", "--teacher", "t.onnx", "--teacher-size", "big"], "HEIGHTxWIDTH"),
        (["--data", "D", "--teacher", "t.onnx", "--teacher-size", "8"], "teacher-size must be in [32, 4096]"),
        (["--data", "D", "--teacher", "t.onnx", "--teacher", "r/teacher.json"], "cannot be combined"),
        (["--data", "D", "--teacher", "r/teacher.json", "--teacher-flip"], "cannot be combined"),
        (["--data", "D", "--sure-score", "0.7"], "--sure-score goes with --uncertain ignore"),
        (["--data", "D", "--feature-weight", "2"], "--feature-weight goes with --feature-teacher FILE.onnx"),
        (["--data", "D", "--uncertain", "maybe"], "ignore"),
        (["--data", "D", "--json"], "--json goes with --check"),
        (["--resume", "D", "--check", "--group-weight", "a=2"], "--group-weight, --check: a resumed run"),
    ],
)
def test_bad_arguments_exit_with_2(dataset_folder: Path, arguments: list[str], message: str) -> None:
    code, _, stderr = run(train_app, *[str(dataset_folder) if a == "D" else a for a in arguments])
    assert code == 2
    assert message in stderr
    assert "Traceback" not in stderr


def test_bad_data_is_one_line_before_any_folder_is_made(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "data" / "train.json", count=4, seed=0)
    content = json.loads(path.read_text())
    content["annotations"][1]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    code, _, stderr = run(train_app, "--data", str(path), *COMMON, "--project", str(tmp_path / "runs"))
    assert code == 1
    assert "annotations[1]" in error_line(stderr)
    assert not (tmp_path / "runs").exists()


def test_a_missing_extra_is_one_line(tmp_path: Path) -> None:
    """The runtime's environment has the training commands too, but not torch."""
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for module, name, *words in (
        ("mmpnet.train.cli.entry", "train", "--data", str(tmp_path)),
        ("mmpnet.export.entry", "export", "best.pth"),
    ):
        command = [sys.executable, "-c", f"from {module} import {name}; {name}()", *words]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 1
        assert "mmpnet[train]" in error_line(result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "absent"], "absent"),
        (["--data", "D", "--data", "D"], "is given twice"),
        (["--data", "D", "--weights", "none", "--classes", "dog"], "has no class 'dog'"),
        (["--data", "D", "--weights", "none", "--teacher", "D/train.json"], "expected the teacher.json of a run"),
        (["--data", "D", "--weights", "absent.pth"], "absent.pth"),
        (["--data", "D", "--weights", "none", "--device", "cuda:999"], "cuda:999"),
        (["--data", "D", "--weights", "none", "--device", "gpu"], "gpu"),
        (["--data", "D", "--weights", "none", "--group-weight", "nobody=2"], "nobody"),
        (["--resume", "absent"], "absent"),
    ],
)
def test_bad_files_and_devices_exit_with_1(
    dataset_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [re.sub(r"^D(?=$|/)", str(dataset_folder), a) for a in arguments]
    project = [] if "--resume" in given else ["--project", str(tmp_path / "runs")]
    code, _, stderr = run(train_app, *given, *project)
    assert code == 1
    assert message in error_line(stderr)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--weights", "yolov8n.pt"], "no such weights file"), (["--device", "tpu"], "tpu")]
)
def test_a_mistake_is_reported_before_the_data_is_read(
    dataset_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, _, stderr = run(train_app, "--data", str(dataset_folder), "--project", str(tmp_path), *arguments)
    assert code == 1
    assert message in error_line(stderr)
    assert len(stderr.splitlines()) == 1, "no table of the data comes before it"


@pytest.mark.parametrize("suffix", ["pth", "onnx"])
def test_val_writes_a_sheet_and_a_report_and_still_its_json(
    dataset_folder: Path, tmp_path: Path, tiny_checkpoint: Path, tiny_onnx: Path, suffix: str
) -> None:
    model = {"pth": tiny_checkpoint, "onnx": tiny_onnx}[suffix]
    outputs = ["--sheet", str(tmp_path / "m.png"), "--report", str(tmp_path / "r.html")]
    code, stdout, stderr = run(val_app, str(model), "--data", str(dataset_folder), "--json", *outputs)
    assert code == 0, stderr
    numbers = json.loads(stdout)
    assert 0 <= numbers["voc07_AP50"] <= 1
    assert 0 <= numbers["voc_AP50"] <= 1
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"{numbers['voc07_AP50']:.3f}" in html
    assert model.name in html
    assert "Training" not in html


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--sheet", "sheet.txt", "ends in .txt; expected .bmp"),
        ("--sheet", "absent/sheet.png", "there is no folder"),
        ("--report", "report.pdf", "ends in .pdf; expected .htm"),
        ("--report", "absent/report.html", "there is no folder"),
    ],
)
def test_val_says_where_nothing_can_be_written_before_it_looks_at_images(
    tmp_path: Path, tiny_onnx: Path, option: str, name: str, message: str
) -> None:
    code, _, stderr = run(val_app, str(tiny_onnx), "--data", "absent", option, str(tmp_path / name))
    assert code == 1
    assert message in error_line(stderr)


def test_only_a_report_needs_matplotlib(dataset_folder: Path, tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", "from mmpnet.train.cli.entry import val; val()", str(tiny_onnx)]
    command += ["--data", str(dataset_folder), "--json", "--threads", "1"]
    plain = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert plain.returncode == 0, plain.stderr
    assert "voc07_AP50" in json.loads(plain.stdout)
    command += ["--report", str(tmp_path / "r.html")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert "a report needs matplotlib: pip install 'mmpnet[eval]'" in error_line(result.stderr)


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [("absent.pth", 1, "absent.pth"), ("absent.onnx", 1, "absent.onnx"), ("a.txt", 2, ".onnx")],
)
def test_val_refuses_what_is_no_model(dataset_folder: Path, model: str, code: int, message: str) -> None:
    found, _, stderr = run(val_app, model, "--data", str(dataset_folder))
    assert found == code
    assert message in stderr
    assert "Traceback" not in stderr


def write_yolo(folder: Path, coco: Path) -> Path:
    """The synthetic COCO data again, as YOLO with the classes `dog` (no box) and `people`."""
    content = json.loads(coco.read_text())
    (folder / "labels").mkdir(parents=True)
    (folder / "images").symlink_to(coco.parent / "images")
    for image in content["images"]:
        rows = []
        for annotation in content["annotations"]:
            if annotation["image_id"] == image["id"]:
                x, y, w, h = annotation["bbox"]
                wide, high = image["width"], image["height"]
                rows.append(f"1 {(x + w / 2) / wide} {(y + h / 2) / high} {w / wide} {h / high}\n")
        (folder / "labels" / image["file_name"]).with_suffix(".txt").write_text("".join(rows))
    (folder / "list.txt").write_text("".join(f"images/{image['file_name']}\n" for image in content["images"]))
    (folder / "data.yaml").write_text("train: list.txt\nval: list.txt\nnames: [dog, people]\n")
    return folder


def test_val_reads_other_formats_mixes_them_and_renames_classes(
    dataset_folder: Path, tmp_path: Path, tiny_onnx: Path
) -> None:
    yolo = write_yolo(tmp_path / "yolo", dataset_folder / "val.json")

    def measure(*arguments: str) -> dict[str, float]:
        code, stdout, stderr = run(val_app, str(tiny_onnx), *arguments, "--threads", "1", "--json")
        assert code == 0, stderr
        numbers: dict[str, Any] = json.loads(stdout)
        return {name: value for name, value in numbers.items() if not isinstance(value, dict | list)}

    expected = measure("--data", str(dataset_folder))
    assert measure("--data", str(yolo), "--classes", "person=people") == pytest.approx(expected)
    assert measure("--data", str(dataset_folder), "--split", "train")["n_images"] == 16
    both = measure("--data", str(yolo), "--data", str(dataset_folder), "--classes", "person=person,people")
    assert both["n_images"] == 2 * expected["n_images"]
    assert both["n_boxes"] == 2 * expected["n_boxes"]
    assert both["AP50"] == pytest.approx(expected["AP50"], abs=0.02), "the same images twice"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--classes", "cat"], 1, "has no class 'cat'; it has person"),
        (["--classes", "person=person,person"], 2, "occurs twice"),
        (["--split", "test"], 1, "has no split test"),
        (["--split", "training"], 2, "--split"),
        (["--data", "absent"], 1, "absent: no such file or folder"),
    ],
)
def test_val_refuses_data_it_cannot_choose(
    dataset_folder: Path, tiny_onnx: Path, arguments: list[str], code: int, message: str
) -> None:
    found, _, stderr = run(val_app, str(tiny_onnx), "--data", str(dataset_folder), *arguments)
    assert found == code
    assert message in (error_line(stderr) if code == 1 else stderr)
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("kind", "option"), [("onnx", "--device=cpu"), ("pth", "--provider=cpu"), ("pth", "--threads=1")]
)
def test_val_refuses_options_that_do_nothing_for_the_file(
    dataset_folder: Path, tiny_onnx: Path, tiny_checkpoint: Path, kind: str, option: str
) -> None:
    model = {"onnx": tiny_onnx, "pth": tiny_checkpoint}[kind]
    code, _, stderr = run(val_app, str(model), "--data", str(dataset_folder), option)
    assert code == 2
    assert f"{option.split('=')[0]} has no effect on a .{kind} file" in " ".join(stderr.replace("│", " ").split())


def test_val_measures_a_file_with_frozen_thresholds_by_those(
    dataset_folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    frozen = str(tmp_path / "frozen.onnx")
    code, _, stderr = run(export_app, str(tiny_checkpoint), "-o", frozen, "--nms", "--frozen", "--conf", "0.3")
    assert code == 0, stderr
    code, stdout, stderr = run(val_app, frozen, "--data", str(dataset_folder), "--json")
    assert code == 0, stderr
    assert 0 <= json.loads(stdout)["AP"] <= 1
    assert "its thresholds are frozen, so this is COCO, conf 0.3, NMS IoU 0.5" in " ".join(stderr.split())
    code, _, stderr = run(val_app, frozen, "--data", str(dataset_folder), "--conf", "0.001")
    assert code == 1
    assert "thresholds are fixed to conf" in stderr


def test_training_watches_the_val_split_that_the_data_set_has(dataset_folder: Path, tmp_path: Path) -> None:
    yolo = write_yolo(tmp_path / "yolo", dataset_folder / "train.json")
    arguments = ["--data", str(yolo), *COMMON, "--epochs", "1", "--project", str(tmp_path)]
    code, _, stderr = run(train_app, *arguments, "--name", "split")
    assert code == 0, stderr
    assert "yolo/train: 16 images" in stderr
    assert "validation set: yolo/val, 16 images" in stderr
    code, _, stderr = run(train_app, "--data", str(dataset_folder / "train.json"), *arguments[2:], "--name", "file")
    assert code == 0, stderr
    assert "validation set: none" in stderr


def test_training_watches_a_folder_without_splits_that_it_is_told_to(dataset_folder: Path, tmp_path: Path) -> None:
    images = read_coco(write_coco(tmp_path / "coco.json", count=3, seed=5)).images
    watched = tmp_path / "watched"
    watched.mkdir()
    for image in images:
        shutil.copy(image.path, watched)
        rows = "\n".join(" ".join(str(int(v)) for v in box) for box in image.boxes_xyxy)
        (watched / f"{image.path.stem}.gt_data.txt").write_text(rows)
    arguments = ["--data", str(dataset_folder), "--val", str(watched), "--check", "--json"]
    code, stdout, stderr = run(train_app, *arguments)
    assert code == 0, stderr
    assert json.loads(stdout)["val"]["n_pictures"] == 3


def test_every_option_of_a_run_has_help_and_is_a_flag() -> None:
    parameters = {parameter.name: parameter for parameter in typer.main.get_command(train_app).params}
    fields = [field for section in SECTIONS.values() for field in option_fields(section)]
    assert len(fields) > 35
    assert len({field.name for field in fields}) == len(fields), "one name, one option"
    for field in fields:
        assert field.meta.description, field.name
        assert parameters[field.name].opts == [f"--{field.label}"], field.name
        assert getattr(parameters[field.name], "help", None) == field.meta.description


def test_options_on_the_command_line_reach_the_configuration(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainConfig] = []
    monkeypatch.setattr("mmpnet.train.cli.actions.start_run", lambda config, *_, **__: started.append(config))
    (tmp_path / "more").mkdir()
    arguments = ["--data", str(dataset_folder), "--weights", "none", "--imgsz", "192x320", "--sizes", "16,40.5"]
    arguments += ["--group-weight", "a=b=2", "--mosaic-grid", "2", "--mosaic-grid", "3", "--no-amp", "--compile"]
    arguments += ["--teacher", "t.onnx", "--teacher", "u.onnx", "--teacher-size", "416", "--teacher-size", "320x640"]
    arguments += [
        "--teacher-flip",
        "--uncertain",
        "ignore",
        "--sure-score",
        "0.6",
        "--unlabeled",
        str(tmp_path / "more"),
        "--stride",
        "16",
    ]
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(train_app, *arguments)
    assert code == 0, stderr
    (config,) = started
    assert config.data.train == (str(dataset_folder.resolve()),)
    assert config.data.val == config.data.train, "it has a val split"
    assert (config.model.input_hw, config.model.sizes_px, config.model.stride) == ((192, 320), (16.0, 40.5), 16)
    assert config.data.group_weights == (("a=b", 2.0),)
    assert config.loading.mosaic_grids == (2, 3)
    assert (config.run.amp, config.run.compile) == (False, True)
    assert config.distillation.teachers == tuple(str((tmp_path / name).resolve()) for name in ("t.onnx", "u.onnx"))
    assert config.distillation.teacher_sizes == ((416, 416), (320, 640))
    assert config.distillation.teacher_flip
    assert (config.distillation.uncertain, config.distillation.sure_score) == ("ignore", 0.6)
    assert config.distillation.unlabelled == (str((tmp_path / "more").resolve()),)
    assert config.loss == RECIPE.loss
    assert config.optim == RECIPE.optim


def test_the_shipped_weights_are_tuned_with_small_steps_from_the_command_line_and_from_python(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainConfig] = []
    for module in ("mmpnet.train.cli.actions", "mmpnet.train.api"):
        monkeypatch.setattr(f"{module}.start_run", lambda config, *_, **__: started.append(config))
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(train_app, "--data", str(dataset_folder), "--weights", "default", "--epochs", "7")
    assert code == 0, stderr
    mmpnet.train.train(dataset_folder, folder=tmp_path / "run", weights="default", epochs=7)
    assert len(started) == 2
    for config in started:
        assert config.options() == {**config.options(), **FINE_TUNING, "epochs": 7}


def test_the_sample_is_drawn_at_first_use_and_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(train_app, "--data", "sample", "--check")
    assert code == 0, stderr
    assert "sample: made 64 drawn images" in stderr
    assert "starting from the shipped weights" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample"]
    code, _, stderr = run(train_app, "--data", "sample", "--check", "--weights", "none")
    assert code == 0, stderr
    assert "made" not in stderr
    assert "shipped weights" not in stderr
