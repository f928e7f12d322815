"""Adapting to one camera: what is learned, what is held out, and that nothing is replaced without a proof."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from mmpnet.adapt import adapt as adapt_module
from mmpnet.adapt import proof as proof_module
from mmpnet.adapt.adapt import AdaptOptions, adapt
from mmpnet.adapt.camera_images import CameraData, CameraImages, camera_images, plain_name
from mmpnet.adapt.command import app
from mmpnet.adapt.image_files import general_images
from mmpnet.collect.records import CollectedImage
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import TrainingError
from mmpnet.contract.records import Accuracy, AdaptationRecord, ComparedAccuracy
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.progress import no_notice, no_progress
from mmpnet.train.distillation.ensemble import Ensemble
from mmpnet.train.distillation.teacher import OpenedTeacher
from mmpnet.train.run.callbacks import RunCallbacks
from support.coco_writer import write_coco

NAMES = ("background", "person")
MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mmp-collect with 60 images of a video, one every 5 s, labeled by a larger model. Read only."""
    folder = tmp_path_factory.mktemp("collected")
    write_coco(folder / "labels.json", count=60, seed=5)
    content = json.loads((folder / "labels.json").read_text())
    lines = []
    for image in content["images"]:
        number = image["id"]
        name = f"door-{5000 * number:09d}ms.png"
        (folder / "images" / image["file_name"]).rename(folder / "images" / name)
        image["file_name"] = name
        lines.append(
            CollectedImage(name, "door.mp4", "2026-01-02T03:04:05Z", 5.0 * number, 128, 96, ("interval",), ("larger",))
        )
    for annotation in content["annotations"]:
        annotation["score"] = 0.9
    (folder / "labels.json").write_text(json.dumps(content))
    (folder / "collected.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return folder


def teacher(boxes: list[list[float]], score: float = 0.9) -> Ensemble:
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        np.ones(len(boxes), np.int64),
    )
    opened = OpenedTeacher("large.onnx", (lambda _: found,), frozenset({1}), False)
    return Ensemble((opened,), False, "0" * 64)


def read(folder: Path, **changes: Any) -> CameraImages:
    camera = CameraData(**{
        "data": (folder,), "labeled": (), "held_out": (), "teachers": None, "old_model": "own", "class_names": NAMES,
        **changes,
    })  # fmt: skip
    return camera_images(camera, notice=no_notice, progress=no_progress)


def seconds(images: CameraImages, which: str) -> list[int]:
    return [int(plain_name(image.path)[5:14]) // 1000 for image in getattr(images, which)]


def test_the_last_times_are_held_out_and_those_just_before_them_are_not_learned(collected: Path) -> None:
    images = read(collected)
    assert not images.by_people
    assert seconds(images, "held_out") == list(range(215, 301, 5))
    assert seconds(images, "learned") == list(range(5, 206, 5))


def test_corrected_images_replace_collected_ones_and_are_the_judges(collected: Path, tmp_path: Path) -> None:
    """All but the first 12 images were corrected in Label Studio, which puts a prefix before their names."""
    content = json.loads((collected / "labels.json").read_text())
    content["images"] = content["images"][12:]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    (tmp_path / "images").mkdir()
    for image in content["images"]:
        name = f"0a1b2c3d-{image['file_name']}"
        shutil.copy(collected / "images" / image["file_name"], tmp_path / "images" / name)
        image["file_name"] = name
    (tmp_path / "result.json").write_text(json.dumps(content))
    images = read(collected, labeled=(tmp_path,))
    assert images.by_people
    assert all((image.scores == 1).all() for image in images.held_out), "people are sure"
    first = min(seconds(images, "held_out"))
    assert all(image.path.name.startswith("0a1b2c3d-") for image in images.held_out)
    learned = seconds(images, "learned")
    assert len(learned) == len(set(learned))
    assert max(learned) <= first - 10
    assert {plain_name(one.path) for one in images.learned}.isdisjoint(plain_name(one.path) for one in images.held_out)


def test_teachers_label_what_is_learned_and_their_unsure_boxes_are_no_truth(collected: Path) -> None:
    with pytest.raises(TrainingError, match="found nobody in 60 images"):
        read(collected, teachers=teacher([]))
    images = read(collected, teachers=teacher([[5, 5, 20, 40]]))
    assert {image.boxes_xyxy.tolist()[0][0] for image in images.held_out} == {5.0}
    assert {float(image.scores[0]) for image in images.held_out} == {1.0}
    assert {round(float(image.scores[0]), 3) for image in images.learned} == {0.9}


def test_labels_that_contradict_the_teachers_are_an_error(collected: Path) -> None:
    with pytest.raises(TrainingError, match=r"the teachers find 0 of \d+ boxes that people drew"):
        read(collected, labeled=(collected / "labels.json",), teachers=teacher([[0, 0, 4, 4]]))


def test_the_models_own_labels_teach_nothing(collected: Path) -> None:
    with pytest.raises(TrainingError, match="0 images with labels are too few"):
        read(collected, old_model="larger")


def test_few_images_prove_nothing(tmp_path: Path) -> None:
    write_coco(tmp_path / "labels.json", count=3, seed=5)
    with pytest.raises(TrainingError, match=r"3 images with labels are too few: .* at least 10 are needed"):
        read(tmp_path / "labels.json")


def test_general_images_are_spread_and_never_both_learned_and_measured(dataset_folder: Path) -> None:
    learned, measured = general_images([dataset_folder], NAMES, camera_count=1)
    assert (len(learned), len(measured)) == (16, 6)
    learned, measured = general_images([dataset_folder / "train.json"], NAMES, camera_count=1)
    assert (len(learned), len(measured)) == (12, 4)
    assert {one.path for one in learned}.isdisjoint(one.path for one in measured)


def compared(old: float, new: float, interval: tuple[float, float] | None) -> ComparedAccuracy:
    return ComparedAccuracy("held-out", "0" * 64, 20, 30, Accuracy(old, 0.5), Accuracy(new, 0.6), interval)


@pytest.mark.parametrize(
    ("camera", "general", "better", "verdict"),
    [
        (compared(0.3, 0.4, (0.02, 0.2)), None, True, "general images were not measured"),
        (compared(0.3, 0.4, (-0.02, 0.2)), None, False, "not proven better"),
        (compared(0.3, 0.4, (0.02, 0.2)), compared(0.5, 0.49, None), True, "on general images AP -0.010"),
        (compared(0.3, 0.4, (0.02, 0.2)), compared(0.5, 0.47, None), False, "but worse on general images: AP -0.030"),
    ],
)
def test_the_verdict(camera: ComparedAccuracy, general: ComparedAccuracy | None, better: bool, verdict: str) -> None:
    found = proof_module._verdict(camera, general, ["a.onnx"], 0.02)
    assert found[0] == better
    assert verdict in found[1]
    assert "against labels of a.onnx, not of people" in found[1]
    assert "against labels of people" in proof_module._verdict(camera, general, [], 0.02)[1]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> list[str]:
    """Replaces training by a checkpoint; lists the steps that were taken."""
    steps: list[str] = []

    def train(_options: Any, _old: Any, _plan: Any, work: Path, _callbacks: Any) -> None:
        steps.append("train")
        (work / "run").mkdir()
        shutil.copy(tiny_checkpoint, work / "run" / "last.pth")

    monkeypatch.setattr(adapt_module, "_train", train)
    return steps


def adapted(options: AdaptOptions, out: Path, work: Path) -> AdaptationRecord:
    return adapt(options, out, work, callbacks=RunCallbacks(), notice=no_notice, progress=no_progress)


def test_only_a_proven_model_replaces_another_and_its_file_holds_the_proof(
    collected: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    out, work = tmp_path / "door.onnx", tmp_path / "work"
    out.write_bytes(b"the old one")
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.1)
    proof = adapted(options, out, work)
    assert not proof.better, "the candidate is the old model"
    assert proof.camera.old == proof.camera.new
    assert proof.judges == ("the teachers",)
    assert out.read_bytes() == b"the old one"
    assert Detector(work / "candidate.onnx", provider="cpu").metadata.adaptation == proof
    monkeypatch.setattr(proof_module, "_compared", lambda *_: compared(0.3, 0.4, (0.02, 0.2)))
    proof = adapted(options, out, work)
    assert trained == ["train"], "the second call goes on after the training"
    assert proof.better
    assert Detector(out, provider="cpu").metadata.adaptation == proof
    other = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", seed=1)
    with pytest.raises(TrainingError, match="was made for other data or options; give another --work"):
        adapted(other, out, work)


def test_the_command_says_the_verdict_in_words_and_in_its_exit_code(
    collected: Path, tiny_onnx: Path, tmp_path: Path, trained: list[str]
) -> None:
    out = tmp_path / "door.onnx"
    arguments = ["--data", collected, "-o", out, "--model", tiny_onnx, "--weights", "none", "--minutes", 0.1]
    result = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 3, result.output
    assert "camera, held-out times: 18 images" in result.stdout
    assert "not proven better on held-out times of this camera" in result.stdout
    assert "not of people" in result.stdout
    assert f"{out}: nothing was replaced; the candidate is {tmp_path / 'door.work' / 'candidate.onnx'}" in result.stderr
    assert trained == ["train"]
    assert not out.exists()


@pytest.mark.slow
def test_a_model_is_trained_exported_and_judged(collected: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    options = AdaptOptions(data=(collected,), model=str(tiny_onnx), weights="none", minutes=0.02)
    proof = adapted(options, tmp_path / "door.onnx", tmp_path / "work")
    metadata = Detector(tmp_path / "work" / "candidate.onnx", provider="cpu").metadata
    assert metadata.input.size_hw == (64, 64)
    assert proof.better == (tmp_path / "door.onnx").exists()
