"""Training batches: augmented, letterboxed images with their label grids."""

import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.types import LabeledImage
from mmpnet.train.assignment import (
    BACKGROUND,
    UNDECIDED,
    UNDECIDED_LABEL,
    LabelGrid,
    assign_adaptively,
    assign_by_iou,
    lies_inside,
)
from mmpnet.train.choices import Assignment
from mmpnet.train.loading.augment import Augmentation, Sample, augment, mosaic
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.sampling import EpochSampler, SampleKey, generator

LOADER_NICENESS = 19


@dataclass(frozen=True, slots=True)
class Batch:
    """images_bgr (B, H, W, 3) uint8, letterboxed, and their label grid."""

    images_bgr: Tensor
    target: LabelGrid

    @property
    def input_hw(self) -> tuple[int, int]:
        return self.images_bgr.shape[1], self.images_bgr.shape[2]

    def pin_memory(self) -> "Batch":
        """Called by the loader if a CUDA device reads the batch."""
        return Batch(images_bgr=self.images_bgr.pin_memory(), target=self.target.pin_memory())


@dataclass(frozen=True, slots=True)
class _LabeledSample:
    image_bgr: Tensor
    labels: Tensor  # (S, R, rows, cols)
    boxes_xyxy: Tensor  # (P, 4)
    scores: Tensor  # (P,)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a labeled image becomes a sample: its augmentation, and which anchors learn its boxes."""

    anchors: AnchorSpec
    pad_value: int
    assignment: Assignment
    augmentation: Augmentation


class TrainingImages(TorchDataset["_LabeledSample | DatasetError"]):
    """Augmented images with their label grids; a SampleKey decides everything that is random about one.

    An image that cannot be read gives the error itself, which collate returns: raised in a worker, it would have the
    traceback of the worker around it.
    """

    def __init__(self, images: Sequence[LabeledImage], stored: StoredImages, recipe: Recipe) -> None:
        self._images = images
        self._stored = stored
        self._recipe = recipe
        self._anchors: dict[tuple[int, int], FloatArray] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: SampleKey) -> "_LabeledSample | DatasetError":
        try:
            return self._labeled(key)
        except DatasetError as error:
            return error

    def view(self, key: SampleKey) -> Sample:
        """Return the augmented image, before its label grid."""
        random = generator(key.seed)
        letterbox = Letterbox(input_hw=key.input_hw, pad_value=self._recipe.pad_value)
        if key.partners:
            samples = [self._sample(index) for index in (key.index, *key.partners)]
            return mosaic(samples, letterbox, self._recipe.augmentation, random)
        return augment(self._sample(key.index), letterbox, self._recipe.augmentation, random)

    def _sample(self, index: int) -> Sample:
        image = self._images[index]
        pixels, boxes_xyxy = self._stored.read(index)
        return Sample(pixels, boxes_xyxy, image.class_ids, image.scores, image.crowd)

    def _labeled(self, key: SampleKey) -> _LabeledSample:
        sample = self.view(key)
        learned = ~sample.ignored
        matched = self._matched(sample, key.input_hw)
        positive = matched >= 0
        owner = np.flatnonzero(learned)[matched[positive]]
        labels = np.zeros(len(matched), np.int16)  # less to move from the worker than int64
        labels[positive] = sample.class_ids[owner]
        labels[matched == UNDECIDED] = UNDECIDED_LABEL
        return _LabeledSample(
            image_bgr=torch.from_numpy(sample.image_bgr),
            labels=torch.from_numpy(labels).view(self._recipe.anchors.grid_shape(key.input_hw)),
            boxes_xyxy=torch.from_numpy(sample.boxes_xyxy[owner].reshape(-1, 4)),
            scores=torch.from_numpy(sample.scores[owner]),
        )

    def _matched(self, sample: Sample, input_hw: tuple[int, int]) -> IntArray:
        """Return for each anchor the index of the box that it learns, or BACKGROUND, or UNDECIDED; an anchor that would
        learn an ignored box, or lies in one, is not background."""
        if input_hw not in self._anchors:
            self._anchors[input_hw] = self._recipe.anchors.boxes_xyxy(input_hw)
        anchors_xyxy = self._anchors[input_hw]
        matched = self._assign(sample.learned_xyxy, anchors_xyxy, input_hw)
        ignored_xyxy = sample.boxes_xyxy[sample.ignored]
        if len(ignored_xyxy):
            near = self._assign(ignored_xyxy, anchors_xyxy, input_hw) != BACKGROUND
            near |= lies_inside(anchors_xyxy, ignored_xyxy)
            matched[near & (matched == BACKGROUND)] = UNDECIDED
        return matched

    def _assign(self, boxes_xyxy: FloatArray, anchors_xyxy: FloatArray, input_hw: tuple[int, int]) -> IntArray:
        anchors = self._recipe.anchors
        if self._recipe.assignment == "iou":
            return assign_by_iou(boxes_xyxy, anchors_xyxy)
        return assign_adaptively(
            boxes_xyxy,
            anchors_xyxy,
            grid_shape=anchors.grid_shape(input_hw),
            stride=anchors.stride,
            as_published=self._recipe.assignment == "atss",
        )


def collate(items: "list[_LabeledSample | DatasetError]") -> Batch | DatasetError:
    """Stack samples, with the boxes of the positives in the order of the stacked labels; or return the first error."""
    samples = []
    for item in items:
        if isinstance(item, DatasetError):
            return item
        samples.append(item)
    return Batch(
        images_bgr=torch.stack([sample.image_bgr for sample in samples]),
        target=LabelGrid(
            labels=torch.stack([sample.labels for sample in samples]),
            boxes_xyxy=torch.cat([sample.boxes_xyxy for sample in samples]),
            scores=torch.cat([sample.scores for sample in samples]),
        ),
    )


def training_loader(
    images: TrainingImages, sampler: EpochSampler, *, workers: int, pin_memory: bool
) -> "DataLoader[_LabeledSample | DatasetError]":
    """Return a loader over the sampler's batches; iterating it yields Batch, or the DatasetError that ends the run."""
    return DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
    )


def _start_worker(worker_id: int) -> None:
    # Each image has its own seed; these are for libraries that draw from the global generators.
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    # Signals go to the whole process group; only the training process decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        # Batches can wait in a queue; a training step waits for its slowest thread.
        os.nice(LOADER_NICENESS)
    del worker_id
