"""Boxes that a detector was not sure of are learned with their scores, or ignored, and never background."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.distillation.pseudo_labels import read_teacher_labels
from mmpnet.train.distillation.uncertain import settle_uncertain
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.prepare import read_all, taught, teaching
from mmpnet.train.run.start import start_run
from support.coco_writer import write_coco
from support.peer_files import write_rtmdet
from support.train_configs import changed


def with_scores(path: Path, scores: list[float]) -> Path:
    """A COCO JSON whose boxes have these scores in turn."""
    content = json.loads(path.read_text())
    for index, annotation in enumerate(content["annotations"]):
        annotation["score"] = scores[index % len(scores)]
    path.write_text(json.dumps(content))
    return path


def test_only_boxes_below_the_score_are_ignored(tmp_path: Path) -> None:
    path = with_scores(write_coco(tmp_path / "train.json", count=6, seed=0), [1.0, 0.5, 0.3])
    images = read_coco(path).images
    assert settle_uncertain(images, uncertain="soft", sure_score=0.5) == images
    settled = settle_uncertain(images, uncertain="ignore", sure_score=0.5)
    for before, after in zip(images, settled, strict=True):
        np.testing.assert_array_equal(after.crowd, before.scores < 0.4)
        np.testing.assert_array_equal(after.boxes_xyxy, before.boxes_xyxy)
        np.testing.assert_array_equal(after.scores, before.scores)
    assert any(image.crowd.any() for image in settled)


def test_boxes_that_people_drew_are_sure_at_any_threshold(tmp_path: Path) -> None:
    images = read_coco(write_coco(tmp_path / "train.json", count=4, seed=0)).images
    settled = settle_uncertain(images, uncertain="ignore", sure_score=1.0)
    assert not any(image.crowd.any() for image in settled)


def test_uncertain_boxes_of_a_label_file_and_of_a_teacher_are_ignored_together(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    data = with_scores(write_coco(tmp_path / "data" / "train.json", count=4, seed=0), [0.9, 0.2])
    teacher = write_rtmdet(tmp_path / "rtmdet.onnx", [[0, 0, 9, 9, 0.8], [52, 36, 62, 46, 0.3]])
    config = changed(
        tiny_train_config, train=(str(data),), val=(), teachers=(str(teacher),), uncertain="ignore", epochs=1
    )
    start_run(config, tmp_path / "run")
    notices: list[str] = []
    callbacks = RunCallbacks(notice=notices.append)
    train, _ = read_all(config, callbacks)
    labeled = taught(config, train, tmp_path / "run", callbacks)
    for image in labeled.images:
        np.testing.assert_array_equal(image.crowd, image.scores < 0.5)
    scores = np.concatenate([image.scores for image in labeled.images])
    assert {0.2, 0.3, 0.8, 0.9} <= {round(float(score), 4) for score in scores}
    of_file = sum(int((image.scores < 0.5).sum()) for image in read_coco(data).images)
    assert f"data/train.json: {of_file} boxes with a score below 0.5 ignored" in notices
    of_teacher = sum(
        box.score < 0.5 for boxes in read_teacher_labels(tmp_path / "run" / "teacher.json").boxes for box in boxes
    )
    assert notices[-1].endswith(f"{of_teacher} of them score below 0.5 and are ignored")


def test_a_teacher_that_is_sure_of_nothing_leaves_nothing_to_learn(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    data = with_scores(write_coco(tmp_path / "data" / "train.json", count=4, seed=0), [0.2])
    teacher = write_rtmdet(tmp_path / "rtmdet.onnx", [[0, 0, 9, 9, 0.3]])
    config = changed(tiny_train_config, train=(str(data),), val=(), uncertain="ignore")
    with pytest.raises(TrainingError, match=r"no boxes to learn from, as all .* ignored as uncertain"):
        read_all(config, RunCallbacks())
    config = changed(config, teachers=(str(teacher),))
    train, _ = read_all(config, RunCallbacks())
    label = teaching(config, train, RunCallbacks())
    with pytest.raises(TrainingError, match=r"no boxes to learn from, as all .* ignored as uncertain"):
        label()
