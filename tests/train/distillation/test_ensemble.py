"""Several teachers and views as one: their votes, the weights of the votes, and combinations that are refused."""

from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.system.files import file_sha256
from mmpnet.train.distillation.ensemble import Ensemble, mirrored, open_ensemble
from mmpnet.train.distillation.pseudo_labels import ask_teachers, load_teacher_labels, save_teacher_labels
from mmpnet.train.distillation.teacher import OpenedTeacher
from support.peer_files import CELLS, write_rtmdet, write_yolox

PERSON = ("background", "person")
DOG_TOO = ("background", "dog", "person")
FRAME = np.zeros((64, 64, 3), np.uint8)


def says(boxes: list[tuple[list[float], float, int]]):  # type: ignore[no-untyped-def]
    """A view that gives the same boxes for every image: xyxy, score, class id, best first."""

    def detect(_: UInt8Array) -> Detections:
        return Detections(
            np.array([xyxy for xyxy, _, _ in boxes], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in boxes], np.float32),
            np.array([class_id for _, _, class_id in boxes], np.int64),
        )

    return detect


def teacher(name: str, *views: list[tuple[list[float], float, int]], knows: tuple[int, ...] = (1,)) -> OpenedTeacher:
    return OpenedTeacher(name, tuple(map(says, views)), frozenset(knows), False)


HERE, THERE = [10.0, 10.0, 30.0, 40.0], [40.0, 10.0, 60.0, 40.0]


def test_the_score_is_the_mean_of_the_votes_and_an_absent_teacher_votes_zero() -> None:
    both = Ensemble((teacher("a", [(HERE, 0.8, 1)]), teacher("b", [(HERE, 0.4, 1), (THERE, 0.3, 1)])), False, "")
    answer = both(FRAME)
    np.testing.assert_allclose(answer.detections.xyxy, [HERE, THERE], rtol=1e-6)
    np.testing.assert_allclose(answer.detections.score, [0.6, 0.15], rtol=1e-6)
    np.testing.assert_allclose(answer.votes, [[0.8, 0.4], [0, 0.3]], rtol=1e-6)


def test_a_teacher_of_many_views_has_one_vote() -> None:
    many = teacher("many", [(HERE, 0.9, 1)], [(HERE, 0.3, 1)], [])
    answer = Ensemble((many, teacher("one", [(HERE, 0.8, 1)])), False, "")(FRAME)
    np.testing.assert_allclose(answer.votes, [[0.4, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(answer.detections.score, [0.6], rtol=1e-6)


def test_votes_count_among_the_teachers_that_know_the_class() -> None:
    people = teacher("people", [(HERE, 0.8, 2)], knows=(2,))
    animals = teacher("animals", [(HERE, 0.6, 2), (THERE, 0.5, 1)], knows=(1, 2))
    both = Ensemble((people, animals), False, "")
    answer = both(FRAME)
    np.testing.assert_allclose(answer.detections.score, [0.7, 0.5], rtol=1e-6)
    assert answer.detections.class_id.tolist() == [2, 1]
    assert both.unknown_classes(DOG_TOO) == ["people: does not know dog, and has no vote there"]


def test_one_view_of_one_teacher_is_left_as_it_is() -> None:
    overlapping = [(HERE, 0.8, 1), ([11.0, 10.0, 30.0, 40.0], 0.7, 1)]
    answer = Ensemble((teacher("a", overlapping),), False, "")(FRAME)
    assert len(answer.detections) == 2
    np.testing.assert_allclose(answer.votes, [[0.8], [0.7]])


def test_a_mirrored_view_gives_the_boxes_of_the_image_itself() -> None:
    def brightest(frame_bgr: UInt8Array) -> Detections:
        rows, cols = np.nonzero(frame_bgr[..., 0])
        box = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
        return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.ones(1, np.int64))

    frame = np.zeros((40, 100, 3), np.uint8)
    frame[5:20, 10:30] = 255
    np.testing.assert_array_equal(mirrored(brightest)(frame).xyxy, brightest(frame).xyxy)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Files of YOLOX and RTMDet that find the same person, RTMDet at every input size."""
    output = np.zeros((CELLS, 85), np.float32)
    output[64 + 5, :6] = [0.5, 0.5, np.log(1.5), np.log(2.0), 1.0, 0.8]  # center (24, 24), 24 x 32 px
    yolox = write_yolox(tmp_path / "yolox.onnx", output)
    return yolox, write_rtmdet(tmp_path / "rtmdet.onnx", [[12, 8, 36, 40, 0.6]])


def test_files_of_two_families_agree_on_a_person_at_several_sizes_and_mirrored(files: tuple[Path, Path]) -> None:
    both = open_ensemble(files, PERSON, sizes=[(64, 64), (128, 128)])
    assert both.names == ("yolox.onnx", "rtmdet.onnx")
    assert [len(one.views) for one in both.teachers] == [1, 2]
    answer = both(FRAME)
    np.testing.assert_allclose(answer.detections.xyxy, [[12, 8, 36, 40]], atol=1e-3)
    np.testing.assert_allclose(answer.votes, [[0.8, 0.6]], rtol=1e-5)
    flipped = open_ensemble(files, PERSON, flip=True)(FRAME)
    # Both files give the same box for the mirror image, so the mirrored view has it on the other side.
    np.testing.assert_allclose(flipped.detections.xyxy[:, 0].tolist(), [12, 28], atol=1e-3)
    np.testing.assert_allclose(flipped.votes, [[0.4, 0.3], [0.4, 0.3]], rtol=1e-5)


def test_teachers_and_views_have_a_hash_and_one_file_has_its_own(files: tuple[Path, Path]) -> None:
    assert open_ensemble(files[:1], PERSON).sha256 == file_sha256(files[0])
    hashes = {
        open_ensemble(files, PERSON).sha256,
        open_ensemble(files[::-1], PERSON).sha256,
        open_ensemble(files, PERSON, flip=True).sha256,
        open_ensemble(files, PERSON, sizes=[(64, 64)]).sha256,
        open_ensemble(files[:1], PERSON, flip=True).sha256,
    }
    assert len(hashes) == 5
    assert open_ensemble(files, PERSON).sha256 in hashes


def test_what_cannot_teach_together_is_one_line(files: tuple[Path, Path]) -> None:
    with pytest.raises(TrainingError, match=r"yolox\.onnx: is given twice"):
        open_ensemble([files[0], files[0]], PERSON)
    with pytest.raises(TrainingError, match=r"yolox\.onnx take images of one size only; leave --teacher-size out"):
        open_ensemble(files[:1], PERSON, sizes=[(96, 96)])
    with pytest.raises(TrainingError, match=r"rtmdet\.onnx: is a RTMDet network, which knows person, but none of: dog"):
        open_ensemble(files, ("background", "dog"))
    with pytest.raises(TrainingError, match="100x100 px; expected multiples of 32"):
        open_ensemble(files, PERSON, sizes=[(100, 100)])


def test_votes_survive_the_disk(files: tuple[Path, Path], dataset_folder: Path, tmp_path: Path) -> None:
    images = read_coco(dataset_folder / "val.json").images
    labels = ask_teachers(open_ensemble(files, PERSON), images, PERSON)
    assert labels.teachers == ("yolox.onnx", "rtmdet.onnx")
    assert all(box.votes == (0.8, 0.6) and box.score == 0.7 for boxes in labels.boxes for box in boxes)
    assert any(labels.boxes)
    save_teacher_labels(tmp_path / "teacher.json", labels)
    assert load_teacher_labels(tmp_path / "teacher.json", images, PERSON) == labels


def test_labels_that_were_written_before_there_were_votes_are_still_read(
    files: tuple[Path, Path], dataset_folder: Path, tmp_path: Path
) -> None:
    images = read_coco(dataset_folder / "val.json").images
    labels = ask_teachers(open_ensemble(files[:1], PERSON), images, PERSON)
    save_teacher_labels(tmp_path / "teacher.json", labels)
    written = (tmp_path / "teacher.json").read_text()
    assert '"teachers":["yolox.onnx"]' in written
    (tmp_path / "old.json").write_text(written.replace(',"teachers":["yolox.onnx"]', "").replace(",1,[]]", ",1]"))
    read = load_teacher_labels(tmp_path / "old.json", images, PERSON)
    assert read.boxes == labels.boxes
    assert read.teachers == ()
