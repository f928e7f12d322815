"""mmp-collect as a user types it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mmpnet.adapt.camera_images import read_journal
from mmpnet.datasets.load import load_dataset
from mmpnet.media.images import write_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.cli.collect import app
from support.fake_capture import FakeCapture
from support.frames import make_noise, write_video


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result.exit_code, result.stderr


def test_images_are_collected_with_the_labels_of_teachers(tiny_onnx: Path, tmp_path: Path) -> None:
    for seed in range(3):
        write_image(tmp_path / f"{seed}.png", make_noise(seed, (64, 64)))
    write_image(tmp_path / "copy.png", make_noise(0, (64, 64)))
    code, stderr = run(tiny_onnx, tmp_path, "-o", tmp_path / "c", "--teacher", tiny_onnx, "--threads", 1)
    assert code == 0, stderr
    assert "kept 3 images (image 3); left out 1 near-duplicate" in stderr
    assert f"next: mmp-adapt --data {tmp_path / 'c'} -o NAME.onnx" in stderr
    dataset = load_dataset([tmp_path / "c"], "train")
    assert len(dataset.images) == 3
    assert dataset.num_boxes > 0


def test_the_models_own_labels_are_to_be_corrected_before_it_learns_from_them(tiny_onnx: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", make_noise(1, (64, 64)))
    code, stderr = run(tiny_onnx, tmp_path / "1.png", "-o", tmp_path / "c", "--conf", 0.01, "--threads", 1)
    assert code == 0, stderr
    assert f"correct them; then: mmp-adapt --data {tmp_path / 'c'} --labeled CORRECTED -o NAME.onnx" in stderr
    (image,) = read_journal(tmp_path / "c")
    assert (image.labeled_by, image.networks) == (("tiny",), (Detector(tiny_onnx).metadata.network,))


def test_a_video_is_collected_twice_and_kept_once(tiny_onnx: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", count=21)
    arguments = (tiny_onnx, video, "-o", tmp_path / "c", "--every", 1, "--gap", 0.9, "--unsure", "0-0", "--threads", 1)
    code, stderr = run(*arguments, "--conf", 1)
    assert code == 0, stderr
    assert "note: the model found nobody in them; check that the camera sees people" in stderr
    kept = json.loads((tmp_path / "c" / "labels.json").read_text())["images"]
    assert 2 <= len(kept) <= 3
    code, stderr = run(*arguments, "--conf", 1)
    assert code == 0, stderr
    assert f"has {len(kept)} images already; going on" in stderr
    assert json.loads((tmp_path / "c" / "labels.json").read_text())["images"] == kept


def test_a_camera_that_gives_no_frames_is_one_line_and_its_folder_is_whole(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    arguments = (tiny_onnx, "--camera", 0, "-o", folder, "--every", 1, "--gap", 0, "--threads", 1)
    silent = FakeCapture([])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: silent)
    code, stderr = run(*arguments)
    assert code == 1
    assert [line for line in stderr.splitlines() if line.startswith("error:")] == [
        "error: camera 0: no frame after 0; check its cable or network, and other programs that use it"
    ]
    assert silent.released
    assert list((folder / "images").iterdir()) == list((folder / "labels").iterdir()) == []
    assert json.loads((folder / "labels.json").read_text())["images"] == []
    assert json.loads((folder / "label-studio" / "tasks.json").read_text()) == []
    assert [path for path in folder.rglob("*") if "mmpnet-" in path.name or "partial" in path.name] == []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture([make_noise(0, (64, 64))]))
    code, stderr = run(*arguments, "--limit", 1)
    assert code == 0, stderr
    assert "kept 1 image" in stderr
    assert len(load_dataset([folder], "train").images) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-o", "c"], "no source; give --camera INDEX"),
        (["{image}", "-o", "c", "--unsure", "0.5"], "'0.5': expected LOW-HIGH"),
        (["{image}", "-o", "c", "--unsure", "0.5-0.2"], "'0.5-0.2': expected LOW-HIGH"),
        (["{image}", "-o", "c", "--max-bytes", "much"], "'much': expected a size such as 500MB"),
        (["{image}", "-o", "{image}"], "is not a folder; choose another folder"),
        (["{image}", "-o", "c", "--teacher", "absent.onnx"], "teacher absent.onnx: no such model file"),
        (["absent.mp4", "-o", "c"], "no such file or folder"),
    ],
)
def test_mistakes_are_reported_before_any_work(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "a.png"
    write_image(image, np.zeros((8, 8, 3), np.uint8))
    code, stderr = run(*(one.format(image=image) for one in arguments))
    assert code != 0
    assert expected in " ".join(stderr.split())
    assert not (tmp_path / "c").exists()
