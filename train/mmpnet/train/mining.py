"""Select the background anchors that contribute to the loss."""

import torch
from torch import Tensor

MIN_NEGATIVES = 32
"""Negatives drawn from a picture without positives, so that empty scenes teach too."""


def get_random_sampling_mask(
    labels: Tensor,
    neg_ratio: float,
    *,
    min_negatives: int = MIN_NEGATIVES,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """All positives and, drawn at random for each picture, neg_ratio negatives per positive (MMP exercise 5.3).

    labels: (B, ...) class indices, 0 = background, less = never picked -> 0/1 in the same shape and dtype. A picture
    without positives gets min_negatives negatives; no picture gets more than it has. noise: (B, A) numbers that decide
    the draw, instead of the generator.

    Raises: ValueError if neg_ratio or min_negatives is negative, or labels has no batch dimension.
    """
    flat = _flat(labels)
    if noise is None:
        noise = torch.rand(flat.shape, generator=generator)
    noise = noise.to(labels.device)
    mask = _costliest(noise, flat, neg_ratio, min_negatives) | (flat > 0)
    return mask.view(labels.shape).to(labels.dtype)


def hard_negatives(loss: Tensor, labels: Tensor, neg_ratio: float, *, min_negatives: int = MIN_NEGATIVES) -> Tensor:
    """All positives and each picture's costliest negatives, neg_ratio per positive (SSD, section 2.2).

    loss, labels: (B, ...) -> 0/1 in the labels' shape and dtype; labels below 0 are never picked.

    Raises: ValueError if neg_ratio or min_negatives is negative, or labels has no batch dimension.
    """
    flat = _flat(labels)
    mask = _costliest(loss.detach().flatten(1), flat, neg_ratio, min_negatives) | (flat > 0)
    return mask.view(labels.shape).to(labels.dtype)


def _flat(labels: Tensor) -> Tensor:
    if labels.dim() < 2:
        raise ValueError(f"labels must be (B, ...), one picture per row, got shape {tuple(labels.shape)}")
    return labels.flatten(1)


def _costliest(cost: Tensor, labels: Tensor, neg_ratio: float, min_negatives: int) -> Tensor:
    """Mask (B, A) of each row's negatives with the highest cost."""
    if neg_ratio < 0 or min_negatives < 0:
        raise ValueError(f"neg_ratio and min_negatives must not be negative, got {neg_ratio} and {min_negatives}")
    positives = (labels > 0).sum(dim=1)
    budget = (positives * neg_ratio).round().long()
    budget = torch.where(positives == 0, min_negatives, budget)
    negative = labels == 0
    budget = torch.minimum(budget, negative.sum(dim=1))
    rank = cost.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    return rank < budget[:, None]
