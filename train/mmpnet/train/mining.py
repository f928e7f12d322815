"""Select the background anchors that contribute to the loss."""

import torch
from torch import Tensor

MIN_NEGATIVES = 32
"""Negatives of an image without positives, so that empty scenes are learned from too."""


def get_random_sampling_mask(
    labels: Tensor,
    neg_ratio: float,
    *,
    min_negatives: int = MIN_NEGATIVES,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Return the mask of all positives and, drawn at random in each image, neg_ratio negatives per positive (MMP
    exercise 5.3).

    Args:
        labels: class indices (B, ...), one image per row; 0 is background, anchors below 0 are never picked.
        neg_ratio: negatives per positive; an image never gets more than it has.
        min_negatives: negatives of an image without positives.
        generator: decides the draw.
        noise: numbers (B, A) that decide the draw instead of the generator; the largest ones are picked.

    Returns: 1 where an anchor is picked, else 0, in the shape and type of labels.

    Raises: ValueError if neg_ratio or min_negatives is negative, or labels has no batch dimension.

    Example:
        >>> labels = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 2, 2, 0, 0, 0]])
        >>> mask = get_random_sampling_mask(labels, neg_ratio=1.0)
        >>> mask.sum(dim=1), mask[labels > 0]
        (tensor([2, 4]), tensor([1, 1, 1]))
    """
    flat = _flat(labels)
    if noise is None:
        noise = torch.rand(flat.shape, generator=generator)
    noise = noise.to(labels.device)
    mask = _costliest(noise, flat, neg_ratio, min_negatives) | (flat > 0)
    return mask.view(labels.shape).to(labels.dtype)


def hard_negatives(loss: Tensor, labels: Tensor, neg_ratio: float, *, min_negatives: int = MIN_NEGATIVES) -> Tensor:
    """Return the mask of all positives and of the negatives with the highest loss of each image, neg_ratio per positive
    (SSD, section 2.2).

    loss, labels: (B, ...) -> 0/1 in the shape and type of labels; anchors with a label below 0 are never picked.

    Raises: ValueError if neg_ratio or min_negatives is negative, or labels has no batch dimension.
    """
    flat = _flat(labels)
    mask = _costliest(loss.detach().flatten(1), flat, neg_ratio, min_negatives) | (flat > 0)
    return mask.view(labels.shape).to(labels.dtype)


def _flat(labels: Tensor) -> Tensor:
    if labels.dim() < 2:
        raise ValueError(f"labels must be (B, ...), one image per row, got shape {tuple(labels.shape)}")
    return labels.flatten(1)


def _costliest(cost: Tensor, labels: Tensor, neg_ratio: float, min_negatives: int) -> Tensor:
    """Return the mask (B, A) of the negatives with the highest cost in each row."""
    if neg_ratio < 0 or min_negatives < 0:
        raise ValueError(f"neg_ratio and min_negatives must not be negative, got {neg_ratio} and {min_negatives}")
    positives = (labels > 0).sum(dim=1)
    budget = (positives * neg_ratio).round().long()
    budget = torch.where(positives == 0, min_negatives, budget)
    negative = labels == 0
    budget = torch.minimum(budget, negative.sum(dim=1))
    rank = cost.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    return rank < budget[:, None]
