"""Faults are found before the folder of a run is made, and its cache is removed however the run ends."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError, TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.distillation.ensemble import Ensemble
from mmpnet.train.distillation.teacher import OpenedTeacher
from mmpnet.train.engine.callbacks import BatchProgress, TrainingCallbacks
from mmpnet.train.loading.image_cache import CachedImages
from mmpnet.train.run import prepare as training_data
from mmpnet.train.run.anchor_fit import input_boxes, suggested_anchors
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.prepare import with_shipped_shape
from mmpnet.train.run.start import resume_run, start_run
from support.coco_writer import write_coco
from support.train_configs import changed


def edited(path: Path, **changes: object) -> Path:
    """A COCO JSON with these changes in every annotation."""
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation.update(changes)
    path.write_text(json.dumps(content))
    return path


def test_what_cannot_be_trained_on_leaves_no_folder(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    crowds = edited(write_coco(tmp_path / "crowds" / "train.json", count=4, seed=0), iscrowd=1)
    one = write_coco(tmp_path / "one" / "train.json", count=1, seed=0)
    for data, changes, message in (
        (crowds, {}, "has no boxes to learn from"),
        (one, {"input_hw": (32, 32)}, "1 image at the smallest input size"),
        (one, {"multi_scale": 0.5}, "1 image at the smallest input size"),
        (one, {"group_weights": (("nobody", 2.0),)}, "'nobody' matches no image"),
        (
            one,
            {"anchors": "auto", "sizes_px": (4.0, 8.0, 16.0, 32.0)},
            r"boxes are too few or too alike .* --sizes and --ratios",
        ),
    ):
        config = changed(tiny_train_config, train=(str(data),), val=(), **changes)
        with pytest.raises(TrainingError, match=message) as caught:
            start_run(config, tmp_path / "run")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("batch", [4, 1000])
def test_one_image_is_enough_and_a_batch_may_be_larger_than_the_data(
    tiny_train_config: TrainConfig, tmp_path: Path, batch: int
) -> None:
    one = write_coco(tmp_path / "one" / "train.json", count=1, seed=0)
    config = changed(tiny_train_config, train=(str(one),), val=(), batch=batch, mosaic=1.0, mosaic_until=1.0)
    start_run(config, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "best.pth").provenance.epochs_done == 2


def test_the_shipped_model_brings_its_towers(tiny_train_config: TrainConfig) -> None:
    notices: list[str] = []
    config = with_shipped_shape(changed(tiny_train_config, weights="default"), RunCallbacks(notice=notices.append))
    assert (config.model.separate_towers, config.model.tower_depth) == (True, 2)
    assert notices == [
        "the network has separate towers of depth 2, 96 channels and kernels of 3x3, as the shipped model needs it"
    ]
    assert with_shipped_shape(config, RunCallbacks(notice=notices.append)) == config
    assert with_shipped_shape(tiny_train_config, RunCallbacks()) == tiny_train_config
    assert len(notices) == 1


def test_batches_without_any_box_are_learned_from(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    """The batches have one image each, and every fourth image has no box."""
    path = write_coco(tmp_path / "data" / "train.json", count=4, seed=0)
    for negatives in ("quality", "focal", "hard", "random"):
        config = changed(tiny_train_config, train=(str(path),), val=(), batch=1, mosaic=0.0, negatives=negatives)
        start_run(config, tmp_path / negatives)
        assert load_checkpoint(tmp_path / negatives / "best.pth").provenance.epochs_done == 2


def test_anchors_of_the_data_are_those_that_are_trained_and_kept(
    tiny_train_config: TrainConfig, dataset_folder: Path, tmp_path: Path
) -> None:
    config = changed(tiny_train_config, anchors="auto", epochs=1)
    start_run(config, tmp_path / "run")
    images = read_coco(dataset_folder / "train.json").images
    letterbox = config.model_config(("background", "person")).letterbox
    expected = suggested_anchors(input_boxes(images, letterbox), num_sizes=2, num_aspect_ratios=2, stride=8)
    for name in ("last.pth", "best.pth"):
        checkpoint = load_checkpoint(tmp_path / "run" / name)
        assert checkpoint.model.anchors == expected
        assert checkpoint.train.model.sizes_px == expected.sizes_px
    assert expected.sizes_px != config.model.sizes_px


def ensemble_of(teacher: Callable[[object], Detections]) -> Ensemble:
    return Ensemble((OpenedTeacher("teacher.onnx", (teacher,), frozenset({1}), has_free_input=False),), False, "0" * 64)


def silent(_: object) -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def interrupted(_: object) -> Detections:
    raise KeyboardInterrupt


@pytest.mark.parametrize("teacher", [silent, interrupted])
def test_a_teacher_that_does_not_help_leaves_no_folder(
    tiny_train_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    teacher: Callable[[object], Detections],
) -> None:
    path = write_coco(tmp_path / "data" / "train.json", count=4, seed=0)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    (tmp_path / "teacher.onnx").write_bytes(b"")
    monkeypatch.setattr(training_data, "open_ensemble", lambda *_, **__: ensemble_of(teacher))
    config = changed(tiny_train_config, train=(str(path),), val=(), teachers=(str(tmp_path / "teacher.onnx"),))
    expected = KeyboardInterrupt if teacher is interrupted else TrainingError
    with pytest.raises(expected):
        start_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unlabeled_images_that_are_in_the_data_are_left_out(
    tiny_train_config: TrainConfig,
    dataset_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user may well give the folder that holds the images of both splits."""
    (tmp_path / "teacher.onnx").write_bytes(b"")
    monkeypatch.setattr(training_data, "open_ensemble", lambda *_, **__: ensemble_of(silent))
    known = dataset_folder / "images"
    config = changed(tiny_train_config, epochs=1, teachers=(str(tmp_path / "teacher.onnx"),))
    with pytest.raises(TrainingError, match="all 22 images are in the data already"):
        start_run(changed(config, unlabelled=(str(known),)), tmp_path / "run")
    more = write_coco(tmp_path / "more" / "more.json", count=3, seed=9).parent
    (more / "linked").symlink_to(known / "val_001.png")
    (more / "linked").rename(more / "val_001.png")
    (more / "._hidden.png").write_bytes(b"no image")
    start_run(changed(config, unlabelled=(str(more),)), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.pth").provenance.train_images == 16 + 3


def test_sigterm_while_images_are_decoded_leaves_no_cache(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Callable[[CachedImages], Iterator[object]] = CachedImages._decoded

    def terminated(cached: CachedImages) -> Iterator[object]:
        for number, pixels in enumerate(decoded(cached)):
            if number == 3:
                assert list((tmp_path / "run").glob("*.cache"))
                os.kill(os.getpid(), signal.SIGTERM)
            yield pixels

    monkeypatch.setattr(CachedImages, "_decoded", terminated)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        start_run(changed(tiny_train_config, cache="on"), tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) == before
    assert not list((tmp_path / "run").glob("*.cache"))
    assert load_checkpoint(tmp_path / "run" / "last.pth").progress is not None, "it can be gone on with"


def test_a_run_that_another_one_holds_is_neither_started_nor_resumed(
    tiny_train_config: TrainConfig, tmp_path: Path
) -> None:
    """While the first run is in its first epoch, others find its folder, and change nothing in it."""
    folder = tmp_path / "run"
    refused = []

    def others_try(_: BatchProgress) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        for run in (partial(start_run, tiny_train_config, folder), partial(resume_run, folder)):
            with pytest.raises(OutputError, match="run: another run writes to it; stop that one"):
                run()
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
            refused.append(run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_run(tiny_train_config, folder, callbacks=RunCallbacks(training=TrainingCallbacks(batch_done=others_try)))
    assert len(refused) == 2
    resume_run(folder)
    assert load_checkpoint(folder / "last.pth").provenance.epochs_done == tiny_train_config.schedule.epochs
    with pytest.raises(OutputError, match=r"run: has a run; choose another --name, or resume it"):
        start_run(tiny_train_config, folder)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".lock"] == []
