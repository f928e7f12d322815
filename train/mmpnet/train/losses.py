"""The loss of the label grid: class logits and box offsets, both averaged over the positives.

The confidence of a label (1 for a box that a person drew, the score for a box of a teacher) is the probability that the
logits are trained to give, and the weight of the box loss.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from mmpnet.train.assignment import LabelGrid
from mmpnet.train.box_coder import decode_offsets, encode_offsets, paired_iou
from mmpnet.train.choices import BoxLoss, Negatives
from mmpnet.train.mining import get_random_sampling_mask, hard_negatives

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
    """The loss of a batch; how background anchors enter it, which box loss it has and with which weight.

    negatives: `focal` weights all of them by their error; `quality` too, and the target of a positive is the IoU of its
    box; `hard` and `random` take neg_ratio negatives per positive, with cross-entropy.
    """

    negatives: Negatives = "focal"
    neg_ratio: float = 3.0
    box: BoxLoss = "giou"
    box_weight: float = 2.0

    def __call__(
        self,
        output: Tensor,
        target: LabelGrid,
        anchors_xyxy: Tensor,
        *,
        normalizer: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> LossParts:
        """Return the loss of MmpNet's output (B, C, S, R, rows, cols) on anchors (A, 4) in input px.

        normalizer: what both sums are divided by; default: the sum of the positives' confidences, at least 1.
        noise: (B, A) in [0, 1) that decides which negatives `random` takes; default: drawn here.
        """
        # One copy puts the classes one after another: a channels-last output would be read with long strides.
        logits, offsets = output[:, :-4].float().contiguous(), output[:, -4:]
        if normalizer is None:
            normalizer = target.scores.sum().clamp(min=1)
        at = positive_anchors(target.labels)
        offsets = offsets.flatten(2).transpose(1, 2)[at].float()  # (P, 4)
        anchors = anchors_xyxy[at[1]]
        boxes = decode_offsets(offsets, anchors)
        box = box_loss(self.box, boxes, offsets, target.boxes_xyxy, anchors) * target.scores
        wanted = target.scores
        if self.negatives == "quality":
            wanted = wanted * paired_iou(boxes.detach(), target.boxes_xyxy)
        return LossParts(
            classification=self._classification(logits, target.labels, wanted, noise)[target.decided].sum()
            / normalizer,
            box=self.box_weight * box.sum() / normalizer,
        )

    def _classification(self, logits: Tensor, labels: Tensor, wanted: Tensor, noise: Tensor | None) -> Tensor:
        if self.negatives == "focal":
            return focal_loss(logits, labels, wanted)
        if self.negatives == "quality":
            return quality_focal_loss(logits, labels, wanted)
        loss = soft_cross_entropy(logits, labels, wanted)
        if self.negatives == "hard":
            return loss * hard_negatives(loss, labels, self.neg_ratio)
        return loss * get_random_sampling_mask(labels, self.neg_ratio, noise=noise)


def positive_anchors(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image and flat anchor index of each positive, (P,) each, in the order of
    `LabelGrid.positive.nonzero()`."""
    image, anchor = (labels.flatten(1) > 0).nonzero(as_tuple=True)
    return image, anchor


def soft_cross_entropy(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy of each anchor; the target of a positive is probability wanted (P,) for its class and
    the rest for background: logits (B, K, ...), labels (B, ...) -> (B, ...)."""
    of_background, of_class, at = _log_probabilities(logits, labels)
    return _with_positives(-of_background, at, -(wanted * of_class + (1 - wanted) * of_background[at]))


def focal_loss(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the softmax focal loss (Lin et al. 2017) of each anchor; a label of confidence w counts w as positive and
    1 - w as background: logits (B, K, ...), labels (B, ...), wanted (P,) -> (B, ...)."""
    of_background, of_class, at = _log_probabilities(logits, labels)
    as_background = (1 - FOCAL_ALPHA) * _focused(of_background)
    as_class = FOCAL_ALPHA * _focused(of_class)
    return _with_positives(as_background, at, wanted * as_class + (1 - wanted) * as_background[at])


def quality_focal_loss(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the quality focal loss (Li et al. 2020, equation 3) with softmax: cross-entropy with the target
    probability wanted (P,), weighted by the squared distance to it: logits (B, K, ...), labels (B, ...) -> (B, ...)."""
    of_background, of_class, at = _log_probabilities(logits, labels)
    negative = (1 - of_background.detach().exp()) ** FOCAL_GAMMA * -of_background
    distance = (wanted - of_class.detach().exp()).abs() ** FOCAL_GAMMA
    return _with_positives(negative, at, -distance * (wanted * of_class + (1 - wanted) * of_background[at]))


def box_loss(kind: BoxLoss, boxes: Tensor, offsets: Tensor, targets_xyxy: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """Return the loss of each positive's box, (P, 4) each -> (P,): GIoU (Rezatofighi et al. 2019), complete IoU (Zheng
    et al. 2020), or smooth L1 of the offsets (Girshick 2015)."""
    if kind == "giou":
        giou: Tensor = generalized_box_iou_loss(boxes, targets_xyxy)
        return giou
    if kind == "ciou":
        ciou: Tensor = complete_box_iou_loss(boxes, targets_xyxy)
        return ciou
    wanted = encode_offsets(targets_xyxy, anchors_xyxy)
    return functional.smooth_l1_loss(offsets, wanted, reduction="none").sum(dim=1)


def _log_probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return log probabilities of background at each anchor (B, ...) and of its class at each positive (P,), and where
    the positives are."""
    log_p = logits.log_softmax(dim=1)
    image, *place = at = (labels > 0).nonzero(as_tuple=True)
    return log_p[:, 0], log_p[(image, labels[at], *place)], at


def _with_positives(of_negatives: Tensor, at: tuple[Tensor, ...], of_positives: Tensor) -> Tensor:
    """Return the values of the negatives (B, ...) with those of the positives (P,) at their indices."""
    return of_negatives.index_put(at, of_positives)


def _focused(log_p: Tensor) -> Tensor:
    return (1 - log_p.exp()) ** FOCAL_GAMMA * -log_p
