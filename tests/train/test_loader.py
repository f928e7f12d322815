"""Training pictures: the same pixels as the runtime's, labels at the right anchors, chance in the key alone."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.preprocess import Letterbox
from mmpnet.runtime.datasets.coco import read_coco
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.train import augment as augment_module
from mmpnet.train.augment import augment
from mmpnet.train.config import ModelConfig
from mmpnet.train.loader import Batch, TrainingPictures, collate, training_loader
from mmpnet.train.sampling import EpochSampler, SampleKey


@pytest.fixture
def dataset(dataset_folder: Path) -> Dataset:
    return read_coco(dataset_folder / "train.json")


@pytest.fixture
def pictures(dataset: Dataset, tiny_model_config: ModelConfig) -> TrainingPictures:
    return TrainingPictures(dataset.pictures, tiny_model_config.anchors, tiny_model_config.letterbox, "adaptive")


def test_without_chance_training_sees_the_runtimes_pixels(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "ssd_augmentation", lambda _: v2.Identity())
    monkeypatch.setattr(augment_module, "photometric_augmentation", v2.Identity)
    letterbox = Letterbox(input_hw=(72, 56))
    for picture in dataset.pictures:
        frame = picture.read()
        expected, placement = letterbox.apply(frame)
        sample = augment(frame, picture.boxes_xyxy, picture.class_ids, letterbox)
        np.testing.assert_array_equal(sample.image_bgr, expected)
        np.testing.assert_allclose(sample.boxes_xyxy, placement.to_input(picture.boxes_xyxy), atol=1e-3)


def test_boxes_follow_their_pixels_through_every_augmentation() -> None:
    """A lone bright rectangle: wherever chance moves it, the box must still fit its bright pixels."""
    frame = np.zeros((120, 160, 3), np.uint8)
    cv2.rectangle(frame, (50, 30), (89, 99), (255, 255, 255), cv2.FILLED)
    boxes, ids = np.array([[50, 30, 90, 100]], np.float32), np.array([1], np.int64)
    overlaps = []
    for seed in range(40):
        torch.manual_seed(seed)
        sample = augment(frame, boxes, ids, Letterbox(input_hw=(128, 128)))
        # Padding and zoom-out are 114 grey; the rectangle stays brighter under any distortion of this strength.
        bright = np.argwhere(sample.image_bgr.min(axis=2) > 125)
        if len(sample.boxes_xyxy) and len(bright) > 50:
            (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
            around = np.array([[left, top, right, bottom]], np.float32)
            overlaps.append(float(pairwise_iou(sample.boxes_xyxy, around)[0, 0]))
    assert len(overlaps) >= 20
    assert min(overlaps) > 0.85


def test_a_key_decides_everything_random(pictures: TrainingPictures) -> None:
    first = pictures[SampleKey(0, 11)]
    torch.rand(7)
    again = pictures[SampleKey(0, 11)]
    other = pictures[SampleKey(0, 12)]
    assert torch.equal(first.image_bgr, again.image_bgr)
    assert not torch.equal(first.image_bgr, other.image_bgr)


def test_loading_leaves_the_global_generator_alone(pictures: TrainingPictures) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _ = pictures[SampleKey(0, 11)]
    assert torch.equal(torch.rand(3), expected)


def test_positives_stand_where_their_boxes_are(pictures: TrainingPictures, tiny_model_config: ModelConfig) -> None:
    anchors = tiny_model_config.anchors.boxes_xyxy(tiny_model_config.input_hw)
    batch = collate([pictures[SampleKey(index, 100 + index)] for index in range(8)])
    assert batch.images_bgr.shape == (8, 64, 64, 3)
    assert batch.target.labels.shape == (8, 2, 2, 8, 8)
    positive = batch.target.labels.flatten(1).nonzero()[:, 1].numpy()
    boxes = batch.target.boxes_xyxy.numpy()
    assert len(positive) == len(boxes) > 10
    iou = np.array([pairwise_iou(anchors[a][None], b[None])[0, 0] for a, b in zip(positive, boxes, strict=True)])
    assert np.median(iou) > 0.3
    assert (iou > 0).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(pictures: TrainingPictures, workers: int) -> None:
    def batches(count: int) -> list[Batch]:
        sampler = EpochSampler(np.ones(len(pictures)), batch_size=4, seed=1, epoch=0)
        return list(training_loader(pictures, sampler, workers=count, pin_memory=False))  # type: ignore[arg-type]

    for one, other in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(one.images_bgr, other.images_bgr)
        assert torch.equal(one.target.labels, other.target.labels)
        assert torch.equal(one.target.boxes_xyxy, other.target.boxes_xyxy)


class _WorkerDraws(TrainingPictures):
    """What each worker's own generators would draw."""

    def __getitem__(self, key: SampleKey) -> tuple[float, float, float]:  # type: ignore[override]
        return float(torch.rand(1)), float(np.random.rand()), random.random()


def test_workers_are_seeded_differently(dataset: Dataset, tiny_model_config: ModelConfig) -> None:
    own = _WorkerDraws(dataset.pictures, tiny_model_config.anchors, tiny_model_config.letterbox, "iou")
    loader = training_loader(own, EpochSampler(np.ones(4), batch_size=1, seed=0, epoch=0), workers=2, pin_memory=False)
    loader.collate_fn = lambda samples: samples[0]  # type: ignore[assignment, misc, return-value]
    draws = list(loader)
    assert len({draw[0] for draw in draws}) == 4  # type: ignore[index]
    assert len({draw[1] for draw in draws}) == 4  # type: ignore[index]
    assert len({draw[2] for draw in draws}) == 4  # type: ignore[index]
