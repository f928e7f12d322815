"""Compare the detections of a written file, after NMS, with those of its checkpoint; for every head and precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError, ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import DetectionsRecord
from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.open import open_dataset
from mmpnet.evaluation.evaluate import Detect
from mmpnet.export.verification.graph_parity import synthetic_images
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.artifacts.checkpoint import Checkpoint
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import MmpNet
from mmpnet.train.network.torch_detector import torch_detector

SYNTHETIC_IMAGES = 4
REAL_IMAGES = 8
COMPARED_THRESHOLDS = Thresholds(conf=0.1, iou=0.5, max_det=100)
PARTNER_IOU = 0.5
SURE_SCORE = 0.05
"""A detection counts as unmatched only if its score is this far above the threshold: otherwise the other side may have
found it, with a score just below the threshold."""
MOST_UNMATCHED = 0.05
"""Share of detections without a partner. NMS compares an IoU with a threshold, so that tiny differences rarely change
which box it keeps."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest tolerated differences between torch and the written file."""

    score: float
    box_px: float


EXACT = Bound(1e-3, 0.2)
ROUNDED = Bound(0.03, math.inf)
"""float16 has 11 bits: logits of up to 16 differ by 0.01, and scores by a quarter of that. NMS may keep another one of
two anchors with nearly equal scores, whose box differs by some px: box differences are recorded, but not limited."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A checkpoint's network in evaluation mode, its configuration, and letterboxed images (H, W, 3) to compare on."""

    network: MmpNet
    model: ModelConfig
    images: tuple[UInt8Array, ...]

    def detector(self, input_hw: tuple[int, int], thresholds: Thresholds) -> Detect:
        """A detector with the network at this input size, on the CPU."""
        model = msgspec.structs.replace(self.model, input_hw=input_hw)
        return torch_detector(self.network, model, thresholds=thresholds, device=torch.device("cpu"))

    def beside(self, path: Path, metadata: ModelMetadata) -> DetectionsRecord:
        """Compare the detections of the file with those of torch on the images."""
        thresholds = metadata.thresholds if metadata.frozen else COMPARED_THRESHOLDS
        expected = self.detector(metadata.input.size_hw, thresholds)
        detector = Detector(path, thresholds=thresholds, provider="cpu", threads=1)
        return apart([(detector(image), expected(image)) for image in self.images], conf=thresholds.conf)


def reference_of(checkpoint: Checkpoint, letterbox: Letterbox) -> Reference:
    """A checkpoint's network, with synthetic images and, if they can be read, the first of its validation set."""
    synthetic = synthetic_images(letterbox, count=SYNTHETIC_IMAGES)
    return Reference(checkpoint.network(), checkpoint.model, (*synthetic, *_validation_images(checkpoint, letterbox)))


def apart(pairs: Sequence[tuple[Detections, Detections]], *, conf: float) -> DetectionsRecord:
    """Compare the detections of two detectors, one pair for each image.

    Detections of one class are matched by IoU, best first. conf: the score threshold of both.
    """
    total = unmatched = 0
    score = box = 0.0
    for found, expected in pairs:
        total += len(found) + len(expected)
        partners = _partners(found, expected)
        for mine, theirs in partners:
            score = max(score, abs(float(found.score[mine]) - float(expected.score[theirs])))
            box = max(box, float(np.abs(found.xyxy[mine] - expected.xyxy[theirs]).max()))
        for side, one in enumerate((found, expected)):
            alone = np.setdiff1d(np.arange(len(one)), [pair[side] for pair in partners])
            unmatched += int((one.score[alone] > conf + SURE_SCORE).sum())
    return DetectionsRecord(
        n_detections=total, n_unmatched=unmatched, max_score_difference=score, max_box_difference_px=box
    )


def check(record: DetectionsRecord, bound: Bound) -> None:
    """Raises: ExportError if the detections of the file differ too much from those of the checkpoint."""
    within = (
        record.max_score_difference <= bound.score
        and record.max_box_difference_px <= bound.box_px
        and record.n_unmatched <= max(MOST_UNMATCHED * record.n_detections, 1)
    )
    if not within:
        raise ExportError(
            f"the written file and torch differ by {record.max_score_difference:.2g} in score and "
            f"{record.max_box_difference_px:.2g} px in boxes, {record.n_unmatched} of {record.n_detections} detections "
            f"have no partner; at most {bound.score:g}, {bound.box_px:g} px and one in {1 / MOST_UNMATCHED:.0f} are "
            "tolerated; the file was not kept"
        )


def _partners(found: Detections, expected: Detections) -> list[tuple[int, int]]:
    iou = pairwise_iou(found.xyxy, expected.xyxy)
    iou = np.where(found.class_id[:, None] == expected.class_id[None], iou, 0.0)
    partners: list[tuple[int, int]] = []
    while iou.size and iou.max() >= PARTNER_IOU:
        mine, theirs = (int(index) for index in np.unravel_index(iou.argmax(), iou.shape))
        partners.append((mine, theirs))
        iou[mine], iou[:, theirs] = 0.0, 0.0
    return partners


def _validation_images(checkpoint: Checkpoint, letterbox: Letterbox) -> list[UInt8Array]:
    if not checkpoint.train.data.val:
        return []
    try:
        images = open_dataset(Path(checkpoint.train.data.val[0]), "val", undivided=True).images[:REAL_IMAGES]
        return [letterbox.apply(image.read())[0] for image in images]
    except DatasetError:
        # The data may be missing where a checkpoint is exported; the summary states how many images were compared.
        return []
