"""Batches for training: augmented, letterboxed pictures and the label grid each should become."""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.preprocess import Letterbox
from mmpnet.runtime.datasets.types import Picture
from mmpnet.train.augment import augment
from mmpnet.train.sampling import EpochSampler, SampleKey
from mmpnet.train.targets import LabelGrid, assign_adaptively, assign_by_iou

Assignment: TypeAlias = Literal["adaptive", "iou"]


@dataclass(frozen=True, slots=True)
class Batch:
    """images_bgr (B, H, W, 3) uint8, letterboxed, and their label grid."""

    images_bgr: Tensor
    target: LabelGrid

    def pin_memory(self) -> "Batch":
        """Called by the loader where a CUDA device will read the batch."""
        target = LabelGrid(labels=self.target.labels.pin_memory(), boxes_xyxy=self.target.boxes_xyxy.pin_memory())
        return Batch(images_bgr=self.images_bgr.pin_memory(), target=target)


@dataclass(frozen=True, slots=True)
class _Labelled:
    image_bgr: Tensor
    labels: Tensor  # (S, R, rows, cols)
    boxes_xyxy: Tensor  # (P, 4)


class TrainingPictures(TorchDataset["_Labelled | DatasetError"]):
    """Augmented pictures with their label grids; a SampleKey decides everything random about one.

    A picture that cannot be read comes back as the error itself, which collate passes on: raised in a worker, it would
    arrive wrapped in the worker's traceback.
    """

    def __init__(
        self, pictures: Sequence[Picture], anchors: AnchorSpec, letterbox: Letterbox, assignment: Assignment
    ) -> None:
        self._pictures = pictures
        self._anchors_xyxy = anchors.boxes_xyxy(letterbox.input_hw)
        self._grid_shape = anchors.grid_shape(letterbox.input_hw)
        self._letterbox = letterbox
        self._assignment = assignment

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, key: SampleKey) -> "_Labelled | DatasetError":
        try:
            return self._labelled(key)
        except DatasetError as error:
            return error

    def _labelled(self, key: SampleKey) -> _Labelled:
        picture = self._pictures[key.index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key.seed)
            solid = ~picture.crowd
            sample = augment(picture.read(), picture.boxes_xyxy[solid], picture.class_ids[solid], self._letterbox)
        matched = self._assign(sample.boxes_xyxy)
        positive = matched >= 0
        labels = np.zeros(len(matched), np.int16)  # a fourth of int64, on its way from the worker
        labels[positive] = sample.class_ids[matched[positive]]
        return _Labelled(
            image_bgr=torch.from_numpy(sample.image_bgr),
            labels=torch.from_numpy(labels).view(self._grid_shape),
            boxes_xyxy=torch.from_numpy(sample.boxes_xyxy[matched[positive]].reshape(-1, 4)),
        )

    def _assign(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.int64]:
        if self._assignment == "iou":
            return assign_by_iou(boxes_xyxy, self._anchors_xyxy)
        return assign_adaptively(boxes_xyxy, self._anchors_xyxy, grid_shape=self._grid_shape)


def collate(items: "list[_Labelled | DatasetError]") -> Batch | DatasetError:
    """Stack samples, the positives' boxes in the order of the stacked labels; or the first error."""
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
        ),
    )


def training_loader(
    pictures: TrainingPictures, sampler: EpochSampler, *, workers: int, pin_memory: bool
) -> "DataLoader[_Labelled | DatasetError]":
    """A loader over the sampler's batches; iterating it yields Batch, or the DatasetError that ends the run."""
    return DataLoader(
        pictures,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
    )


def _start_worker(worker_id: int) -> None:
    # Pictures are seeded one by one; this keeps apart whatever else a library may draw.
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    # Signals go to the whole process group; only the training process decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    del worker_id
