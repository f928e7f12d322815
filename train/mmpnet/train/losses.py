"""What the label grid is trained on: class logits and box offsets, both averaged over the positives."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from mmpnet.train.candidates import decode_offsets
from mmpnet.train.mining import get_random_sampling_mask, hard_negatives
from mmpnet.train.targets import LabelGrid

Negatives: TypeAlias = Literal["focal", "hard", "random"]

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


@dataclass(frozen=True, slots=True)
class LossParts:
    """Classification and (weighted) box part of one batch's loss: scalars with gradients."""

    classification: Tensor
    box: Tensor

    @property
    def total(self) -> Tensor:
        return self.classification + self.box


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """How background anchors enter the classification loss, and how heavy the GIoU box loss is.

    negatives: `focal` (all of them, softly), `hard` or `random` (neg_ratio per positive, cross-entropy).
    """

    negatives: Negatives = "focal"
    neg_ratio: float = 3.0
    box_weight: float = 2.0

    def __call__(
        self,
        output: Tensor,
        target: LabelGrid,
        anchors_xyxy: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> LossParts:
        """Loss of MmpNet's output (B, C, S, R, rows, cols) on anchors (A, 4) in input px."""
        output = output.float()
        logits, offsets = output[:, :-4], output[:, -4:]
        positive = target.labels > 0
        count = positive.sum().clamp(min=1)
        return LossParts(
            classification=self._classification(logits, target.labels, generator) / count,
            box=self.box_weight * box_loss(offsets, target, anchors_xyxy) / count,
        )

    def _classification(self, logits: Tensor, labels: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.negatives == "focal":
            return focal_loss(logits, labels).sum()
        cross_entropy = functional.cross_entropy(logits, labels, reduction="none")
        if self.negatives == "hard":
            mask = hard_negatives(cross_entropy, labels, self.neg_ratio)
        else:
            mask = get_random_sampling_mask(labels, self.neg_ratio, generator=generator)
        return (cross_entropy * mask).sum()


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax focal loss (Lin et al. 2017) of each anchor: logits (B, K, ...), labels (B, ...) -> (B, ...)."""
    log_p = -functional.cross_entropy(logits, labels, reduction="none")
    alpha = torch.where(labels > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return -alpha * (1 - log_p.exp()) ** FOCAL_GAMMA * log_p


def box_loss(offsets: Tensor, target: LabelGrid, anchors_xyxy: Tensor) -> Tensor:
    """Sum over the positives of the GIoU loss (Rezatofighi et al. 2019): offsets (B, 4, S, R, rows, cols)."""
    picture, *grid = target.labels.nonzero(as_tuple=True)
    of_positives = offsets[picture, :, grid[0], grid[1], grid[2], grid[3]]  # (P, 4)
    flat = (target.labels > 0).flatten(1).nonzero()[:, 1]  # (P,), same order
    boxes = decode_offsets(of_positives, anchors_xyxy[flat])
    loss: Tensor = generalized_box_iou_loss(boxes, target.boxes_xyxy, reduction="sum")
    return loss
