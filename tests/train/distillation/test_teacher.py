"""Teachers: files that cannot teach are refused, boxes are decoded correctly, and scores are kept as targets."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError, TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import LabeledImage
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.choices import LEAST_SCORE
from mmpnet.train.distillation.ensemble import Ensemble, open_ensemble
from mmpnet.train.distillation.pseudo_labels import (
    SAME_OBJECT_IOU,
    ask_teachers,
    load_teacher_labels,
    read_teacher_labels,
    save_teacher_labels,
    unlabeled_images,
    with_teacher_boxes,
)
from mmpnet.train.distillation.teacher import OpenedTeacher, open_teacher
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.trainer import Trainer
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.prepare import read_all, teaching
from mmpnet.train.run.start import resume_run, start_run
from support.coco_writer import write_coco
from support.peer_files import CELLS, write_rtmdet, write_yolox
from support.train_configs import changed

CLASSES = ("background", "dog", "person")
PERSON = ("background", "person")


@pytest.fixture
def yolox(tmp_path: Path) -> Path:
    """One certain person at the cell in row 1, column 2 of stride 16, and an uncertain one elsewhere."""
    output = np.zeros((CELLS, 85), np.float32)
    output[64 + 1 * 4 + 2, :6] = [0.25, 0.5, np.log(1.5), np.log(2.0), 0.9, 0.8]
    output[0, :6] = [0.5, 0.5, np.log(0.5), np.log(0.5), 0.5, 0.2]
    output[9, :7] = [0.5, 0.5, 0, 0, 0.9, 0.0, 0.9]  # a bicycle
    return write_yolox(tmp_path / "yolox.onnx", output)


def test_yolox_cells_become_boxes_in_the_frames_pixels(yolox: Path) -> None:
    (detect,) = open_teacher(yolox, CLASSES).views
    frame = np.zeros((32, 128, 3), np.uint8)  # letterboxed by one half
    found = detect(frame)
    center, half = np.array([2.25, 1.5]) * 16, np.array([1.5, 2.0]) * 16 / 2
    expected = np.concatenate([center - half, center + half]) * 2
    np.testing.assert_allclose(found.xyxy[0], expected.clip(0, (128, 32, 128, 32)), rtol=1e-5)
    np.testing.assert_allclose(found.score, [0.72, 0.1], rtol=1e-5)
    assert found.class_id.tolist() == [2, 2], "person has the student's index; the bicycle is not taught"


@pytest.mark.parametrize("shape", [{"batch": 4}, {"channels": 1}])
def test_inputs_that_no_frame_fits_are_refused_at_once(tmp_path: Path, shape: dict[str, int]) -> None:
    path = write_yolox(tmp_path / "other.onnx", np.zeros((CELLS, 85), np.float32), **shape)
    with pytest.raises(TrainingError, match=r"^teacher .*other\.onnx: inputs images \[.*; expected a file"):
        open_teacher(path, CLASSES)


def test_a_free_batch_teaches_too(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / "free.onnx", np.zeros((CELLS, 85), np.float32), batch="n")
    (detect,) = open_teacher(path, CLASSES).views
    assert len(detect(np.zeros((32, 32, 3), np.uint8))) == 0


def test_boxes_that_are_decoded_already_are_refused(tmp_path: Path) -> None:
    output = np.zeros((CELLS, 85), np.float32)
    output[3, :6] = [30, 20, 24, 48, 0.9, 0.8]
    (detect,) = open_teacher(write_yolox(tmp_path / "decoded.onnx", output), CLASSES).views
    with pytest.raises(MmpnetError, match=r"decoded\.onnx gives boxes that are already decoded; export it without"):
        detect(np.zeros((32, 32, 3), np.uint8))


def test_a_student_of_other_classes_learns_nothing_from_coco(yolox: Path) -> None:
    with pytest.raises(TrainingError, match="which knows 80 classes of COCO, but none of: cart"):
        open_teacher(yolox, ("background", "cart"))


def test_our_own_files_teach_the_classes_they_share(tiny_onnx: Path) -> None:
    teacher = open_teacher(tiny_onnx, CLASSES)
    assert (set(teacher.class_ids), teacher.has_free_input) == ({2}, False)
    (detect,) = teacher.views
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    found = detect(frame)
    assert len(found) > 0
    assert set(found.class_id.tolist()) == {2}
    with pytest.raises(TrainingError, match=r"knows \['person'\], but none of \['dog'\]"):
        open_teacher(tiny_onnx, ("background", "dog"))


def test_what_is_no_detector_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    write_yolox(tmp_path / "other.onnx", np.zeros((CELLS, 86), np.float32))
    for name, expected in (("absent.onnx", "no such"), ("text.onnx", "cannot load"), ("other.onnx", "expected a file")):
        with pytest.raises(TrainingError, match=expected) as caught:
            open_teacher(tmp_path / name, CLASSES)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


@pytest.fixture
def images(dataset_folder: Path) -> tuple[LabeledImage, ...]:
    return read_coco(dataset_folder / "train.json").images


def teacher_of(boxes: list[list[float]], scores: list[float]) -> Ensemble:
    """A teacher that gives the same boxes for every image."""

    def detect(frame_bgr: UInt8Array) -> Detections:
        assert frame_bgr.ndim == 3
        ids = np.ones(len(scores), np.int64)
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), ids)

    return Ensemble((OpenedTeacher("t.onnx", (detect,), frozenset({1}), False),), False, "0" * 64)


def test_only_boxes_that_are_not_labeled_are_added_with_their_scores(images: tuple[LabeledImage, ...]) -> None:
    labeled = next(image for image in images if len(image.boxes_xyxy))
    box = labeled.boxes_xyxy[0]
    elsewhere = [1.0, 1.0, 9.0, 9.0]
    same = [*box[:2], box[0] + (box[2] - box[0]) * (SAME_OBJECT_IOU + 0.1), box[3]]
    labels = ask_teachers(teacher_of([same, elsewhere, elsewhere], [0.9, 0.4, 0.06]), [labeled], PERSON)
    (image,) = with_teacher_boxes([labeled], labels, least_score=0.1)
    count = len(labeled.boxes_xyxy)
    np.testing.assert_array_equal(image.boxes_xyxy[:count], labeled.boxes_xyxy)
    np.testing.assert_allclose(image.boxes_xyxy[count:], [elsewhere])
    np.testing.assert_allclose(image.scores, [1.0] * count + [0.4])
    assert image.class_ids.tolist() == [1] * (count + 1)
    assert len(image.crowd) == len(image.areas_px2) == count + 1
    (sure,) = with_teacher_boxes([labeled], labels, least_score=0.5)
    assert len(sure.boxes_xyxy) == count


def test_teacher_labels_survive_the_disk_and_fit_only_their_images(
    images: tuple[LabeledImage, ...], tmp_path: Path
) -> None:
    labels = ask_teachers(teacher_of([[2, 2, 20, 30]], [0.5]), images, PERSON)
    save_teacher_labels(tmp_path / "teacher.json", labels)
    assert load_teacher_labels(tmp_path / "teacher.json", images, PERSON) == labels
    with pytest.raises(TrainingError, match="other images"):
        load_teacher_labels(tmp_path / "teacher.json", images[1:], PERSON)
    with pytest.raises(TrainingError, match="are missing"):
        load_teacher_labels(tmp_path / "absent.json", images, PERSON)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_teacher_labels(tmp_path / "broken.json", images, PERSON)


def test_remembered_labels_keep_their_names_where_classes_have_other_numbers(
    images: tuple[LabeledImage, ...], tmp_path: Path
) -> None:
    path = tmp_path / "teacher.json"
    labels = ask_teachers(teacher_of([[2, 2, 20, 30]], [0.5]), images, ("background", "dog", "person"))
    save_teacher_labels(path, labels)  # a dog in each
    for names, expected in ((("background", "person", "dog"), 2), (("background", "dog"), 1)):
        read = load_teacher_labels(path, images, names)
        assert read.class_names == names
        assert {box.class_id for found in read.boxes for box in found} == {expected}
    assert all(found == () for found in load_teacher_labels(path, images, PERSON).boxes)
    with pytest.raises(TrainingError, match=r"holds labels of \['dog', 'person'\], this run also learns \['cat'\]"):
        load_teacher_labels(path, images, ("background", "person", "cat"))


def test_boxes_below_the_least_score_are_not_stored(images: tuple[LabeledImage, ...]) -> None:
    labels = ask_teachers(teacher_of([[2, 2, 20, 30]], [LEAST_SCORE / 2]), images, PERSON)
    assert all(boxes == () for boxes in labels.boxes)


def test_images_without_labels_are_found_below_their_folder(dataset_folder: Path, tmp_path: Path) -> None:
    found = unlabeled_images(dataset_folder)
    assert len(found) == 22
    assert all(not len(image.boxes_xyxy) and image.image_hw == (96, 128) for image in found)
    assert list(found) == sorted(found, key=lambda image: image.path)
    for folder, expected in ((tmp_path, "has no images"), (tmp_path / "absent", "no such folder")):
        with pytest.raises(TrainingError, match=expected):
            unlabeled_images(folder)


def test_a_run_with_a_teacher_resumes_without_it(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = np.zeros((CELLS, 85), np.float32)
    output[64 + 5, :6] = [0.5, 0.5, 0.3, 0.8, 0.9, 0.9]
    teacher = write_yolox(tmp_path / "yolox.onnx", output)
    write_coco(tmp_path / "more" / "more.json", count=3, seed=9)
    config = changed(tiny_train_config, teachers=(str(teacher),), unlabelled=(str(tmp_path / "more"),), eval_every=2)
    start_run(config, tmp_path / "whole")
    evaluate = Trainer._finish_epoch

    def stop_after_first(run: Trainer, state: TrainingState, stop: threading.Event) -> None:
        evaluate(run, state, stop)
        raise InterruptedRunError

    monkeypatch.setattr(Trainer, "_finish_epoch", stop_after_first)
    with pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "parts")
    monkeypatch.undo()
    teacher.unlink()
    resume_run(tmp_path / "parts")
    one, other = (load_checkpoint(tmp_path / name / "last.pth") for name in ("whole", "parts"))
    assert all(torch.equal(tensor, other.ema[name]) for name, tensor in one.ema.items())
    assert one.provenance.train_images == 16 + 3
    assert one.provenance.teacher_sha256 is not None
    assert other.provenance.teacher_sha256 == one.provenance.teacher_sha256, "of the one that taught"


def test_the_stored_labels_of_a_teacher_teach_another_run_the_same(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    output = np.zeros((CELLS, 85), np.float32)
    output[64 + 5, :6] = [0.5, 0.5, 0.3, 0.8, 0.9, 0.9]
    teacher = write_yolox(tmp_path / "yolox.onnx", output)
    config = changed(tiny_train_config, teachers=(str(teacher),), epochs=1)
    start_run(config, tmp_path / "asked")
    teacher.unlink()
    remembered = tmp_path / "asked" / "teacher.json"
    start_run(changed(config, teachers=(str(remembered),)), tmp_path / "remembered")
    one, other = (load_checkpoint(tmp_path / name / "last.pth") for name in ("asked", "remembered"))
    assert all(torch.equal(tensor, other.ema[name]) for name, tensor in one.ema.items())
    assert other.provenance.teacher_sha256 == one.provenance.teacher_sha256 is not None
    assert (tmp_path / "remembered" / "teacher.json").read_bytes() == remembered.read_bytes()
    others = write_coco(tmp_path / "b.json", count=3, seed=1)
    elsewhere = changed(config, teachers=(str(remembered),), train=(str(others),))
    with pytest.raises(TrainingError, match="labels of other images"):
        start_run(elsewhere, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_several_teachers_at_several_sizes_and_mirrored_teach_a_run_that_resumes_without_them(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = np.zeros((CELLS, 85), np.float32)
    output[64 + 5, :6] = [0.5, 0.5, 0.3, 0.8, 0.9, 0.9]
    files = write_yolox(tmp_path / "yolox.onnx", output), write_rtmdet(tmp_path / "rtmdet.onnx", [[12, 8, 36, 40, 0.6]])
    views = {"teacher_sizes": ((64, 64), (96, 96)), "teacher_flip": True}
    config = changed(tiny_train_config, teachers=tuple(map(str, files)), **views)
    start_run(config, tmp_path / "whole")
    teachers = open_ensemble(files, PERSON, sizes=[(64, 64), (96, 96)], flip=True)
    labels = read_teacher_labels(tmp_path / "whole" / "teacher.json")
    assert (labels.teachers, labels.teacher_sha256) == (("yolox.onnx", "rtmdet.onnx"), teachers.sha256)
    assert {len(box.votes) for boxes in labels.boxes for box in boxes} == {2}
    images = read_all(config, RunCallbacks())[0].images
    assert labels == ask_teachers(teachers, images, PERSON)
    evaluate = Trainer._finish_epoch

    def stop_after_first(run: Trainer, state: TrainingState, stop: threading.Event) -> None:
        evaluate(run, state, stop)
        raise InterruptedRunError

    monkeypatch.setattr(Trainer, "_finish_epoch", stop_after_first)
    with pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "parts")
    monkeypatch.undo()
    for file in files:
        file.unlink()
    resume_run(tmp_path / "parts")
    stored = changed(tiny_train_config, teachers=(str(tmp_path / "whole" / "teacher.json"),))
    start_run(stored, tmp_path / "stored")
    whole, parts, again = (load_checkpoint(tmp_path / name / "last.pth") for name in ("whole", "parts", "stored"))
    for other in (parts, again):
        assert all(torch.equal(tensor, other.ema[name]) for name, tensor in whole.ema.items())
        assert other.provenance.teacher_sha256 == teachers.sha256


def test_a_class_that_a_teacher_does_not_know_is_one_notice(
    tiny_train_config: TrainConfig, tmp_path: Path, yolox: Path
) -> None:
    content = json.loads(write_coco(tmp_path / "data" / "train.json", count=4, seed=0).read_text())
    content["categories"].append({"id": 8, "name": "dog"})
    (tmp_path / "data" / "train.json").write_text(json.dumps(content))
    rtmdet = write_rtmdet(tmp_path / "rtmdet.onnx", [[12, 8, 36, 40, 0.6]])
    config = changed(
        tiny_train_config, train=(str(tmp_path / "data" / "train.json"),), val=(), teachers=(str(yolox), str(rtmdet))
    )
    notices: list[str] = []
    train, _ = read_all(config, RunCallbacks())
    teaching(config, train, RunCallbacks(notice=notices.append))
    assert notices == ["rtmdet.onnx: does not know dog, and has no vote there"]
