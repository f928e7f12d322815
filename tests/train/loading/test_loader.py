"""Training images have the pixels of the runtime and labels at the right anchors; the key alone decides their views."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import Dataset
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.assignment import UNDECIDED_LABEL, lies_inside
from mmpnet.train.choices import AugmentationName
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.loader import Batch, Recipe, TrainingImages, collate, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, SampleKey


@pytest.fixture
def dataset(dataset_folder: Path) -> Dataset:
    return read_coco(dataset_folder / "train.json")


INPUT_HW = (64, 64)
PER_BOX = ("boxes_xyxy", "class_ids", "areas_px2", "crowd", "scores")


def training_images(dataset: Dataset, model: ModelConfig, how: AugmentationName = "full") -> TrainingImages:
    recipe = Recipe(model.anchors, model.pad_value, "adaptive", AUGMENTATIONS[how])
    return TrainingImages(dataset.images, StoredImages(dataset.images, 640), recipe)


@pytest.fixture
def images(dataset: Dataset, tiny_model_config: ModelConfig) -> TrainingImages:
    return training_images(dataset, tiny_model_config)


def test_without_chance_training_sees_the_runtimes_pixels(dataset: Dataset, tiny_model_config: ModelConfig) -> None:
    unchanged = training_images(dataset, tiny_model_config, "none")
    letterbox = Letterbox(input_hw=(72, 56))
    for index, image in enumerate(dataset.images):
        expected, transform = letterbox.apply(image.read())
        view = unchanged.view(SampleKey(index, seed=index, input_hw=(72, 56)))
        np.testing.assert_array_equal(view.image_bgr, expected)
        np.testing.assert_allclose(view.boxes_xyxy, transform.to_input(image.boxes_xyxy), atol=1e-3)


def image_of(images: TrainingImages, *, seed: int) -> torch.Tensor:
    """The first image, augmented by this seed."""
    batch = collate([images[SampleKey(0, seed, INPUT_HW)]])
    assert isinstance(batch, Batch)
    return batch.images_bgr


def test_a_key_decides_everything_random(images: TrainingImages) -> None:
    first = image_of(images, seed=11)
    torch.rand(7)
    again = image_of(images, seed=11)
    other = image_of(images, seed=12)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_loading_leaves_the_global_generators_alone(images: TrainingImages) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _ = images[SampleKey(0, 11, INPUT_HW)]
    assert torch.equal(torch.rand(3), expected)


def test_positives_stand_where_their_boxes_are(images: TrainingImages, tiny_model_config: ModelConfig) -> None:
    anchors = tiny_model_config.anchors.boxes_xyxy(tiny_model_config.input_hw)
    batch = collate([images[SampleKey(index, 100 + index, INPUT_HW)] for index in range(8)])
    assert isinstance(batch, Batch)
    assert batch.images_bgr.shape == (8, 64, 64, 3)
    assert batch.target.labels.shape == (8, 2, 2, 8, 8)
    assert batch.target.scores.tolist() == [1.0] * len(batch.target.boxes_xyxy)
    assert set(batch.target.labels.flatten().tolist()) <= {UNDECIDED_LABEL, 0, 1, 2}
    assert not batch.target.decided.all()
    positive = batch.target.positive.flatten(1).nonzero()[:, 1].numpy()
    boxes = batch.target.boxes_xyxy.numpy()
    assert len(positive) == len(boxes) > 10
    iou = np.array([pairwise_iou(anchors[a][None], b[None])[0, 0] for a, b in zip(positive, boxes, strict=True)])
    assert np.median(iou) > 0.3
    assert (iou > 0).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(images: TrainingImages, workers: int) -> None:
    def batches(count: int) -> list[Batch]:
        sampler = EpochSampler(np.ones(len(images)), EpochPlan((INPUT_HW,), 0.5), batch_size=4, seed=1, epoch=0)
        return list(training_loader(images, sampler, workers=count, pin_memory=False))

    for one, other in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(one.images_bgr, other.images_bgr)
        assert torch.equal(one.target.labels, other.target.labels)
        assert torch.equal(one.target.boxes_xyxy, other.target.boxes_xyxy)


class _WorkerDraws(TrainingImages):
    """Numbers from the global generators of each worker."""

    def __getitem__(self, key: SampleKey) -> tuple[float, float, float]:  # type: ignore[override]
        return float(torch.rand(1)), float(np.random.rand()), random.random()


def test_workers_are_seeded_differently(dataset: Dataset, tiny_model_config: ModelConfig) -> None:
    recipe = Recipe(tiny_model_config.anchors, 114, "iou", AUGMENTATIONS["none"])
    own = _WorkerDraws(dataset.images, StoredImages(dataset.images, 640), recipe)
    sampler = EpochSampler(np.ones(4), EpochPlan((INPUT_HW,)), batch_size=1, seed=0, epoch=0)
    loader = training_loader(own, sampler, workers=2, pin_memory=False)
    loader.collate_fn = lambda samples: samples[0]
    draws = list(loader)
    assert len({draw[0] for draw in draws}) == 4
    assert len({draw[1] for draw in draws}) == 4
    assert len({draw[2] for draw in draws}) == 4


def test_anchors_at_an_ignored_box_learn_nothing_and_those_of_the_others_learn_as_before(
    dataset: Dataset, tiny_model_config: ModelConfig
) -> None:
    index = next(i for i, image in enumerate(dataset.images) if len(image.boxes_xyxy) == 2)
    plain = dataset.images[index]
    crowd = np.array([False, True])
    marked = replace(dataset, images=(replace(plain, crowd=crowd),))
    alone = replace(dataset, images=(replace(plain, **{name: getattr(plain, name)[:1] for name in PER_BOX}),))
    key = SampleKey(0, seed=3, input_hw=INPUT_HW)
    labels, without = (training_images(one, tiny_model_config, "none")[key] for one in (marked, alone))
    assert not isinstance(labels, DatasetError)
    assert not isinstance(without, DatasetError)
    torch.testing.assert_close(labels.boxes_xyxy, without.boxes_xyxy)
    changed = labels.labels != without.labels
    assert changed.any()
    assert set(labels.labels[changed].tolist()) == {UNDECIDED_LABEL}
    assert set(without.labels[changed].tolist()) == {0}
    # Computed by the rule: background anchors half inside the box, and those that would learn it.
    (box,) = Letterbox(INPUT_HW).fit(plain.image_hw).to_input(plain.boxes_xyxy[1:])
    anchors = tiny_model_config.anchors.boxes_xyxy(INPUT_HW)
    for anchor, before, after in zip(anchors, without.labels.flatten(), labels.labels.flatten(), strict=True):
        sides = np.minimum(anchor[2:], box[2:]) - np.maximum(anchor[:2], box[:2])
        inside = np.prod(sides.clip(0)) / np.prod(anchor[2:] - anchor[:2])
        if before == 0 and inside >= 0.5:
            assert after == UNDECIDED_LABEL
    best = pairwise_iou(anchors, box[None])[:, 0].argmax()
    assert labels.labels.flatten()[best] != 0


def test_an_image_of_ignored_boxes_alone_has_no_positives(dataset: Dataset, tiny_model_config: ModelConfig) -> None:
    crowds = tuple(replace(image, crowd=np.ones_like(image.crowd)) for image in dataset.images)
    images = training_images(replace(dataset, images=crowds), tiny_model_config)
    batch = collate([images[SampleKey(index, 5 + index, INPUT_HW)] for index in range(8)])
    assert isinstance(batch, Batch)
    assert len(batch.target.boxes_xyxy) == 0
    assert not batch.target.positive.any()
    assert (batch.target.labels == UNDECIDED_LABEL).any()
    assert (batch.target.labels == 0).any()


def test_what_a_crop_leaves_of_a_person_is_never_background(dataset: Dataset, tiny_model_config: ModelConfig) -> None:
    images = training_images(dataset, tiny_model_config)
    anchors = tiny_model_config.anchors.boxes_xyxy(INPUT_HW)
    remains = 0
    for seed in range(200):
        key = SampleKey(seed % len(dataset.images), seed=seed, input_hw=INPUT_HW, partners=(1, 2, 3))
        view, sample = images.view(key), images[key]
        assert not isinstance(sample, DatasetError)
        labels = sample.labels.flatten().numpy()
        for box in view.boxes_xyxy[view.ignored]:
            remains += 1
            assert (labels[lies_inside(anchors, box[None])] != 0).all()
            assert labels[pairwise_iou(anchors, box[None])[:, 0].argmax()] != 0
    assert remains > 10, "that many were taught as background"
