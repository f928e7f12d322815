"""One update of the weights: the `step` of the exercise, and the part that every training loop shares."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmpnet.contract.errors import TrainingError
from mmpnet.train.mining import get_random_sampling_mask


def step(
    model: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    img_batch: Tensor,
    lbl_batch: Tensor,
    *,
    neg_ratio: float | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Make one update on class labels and return the loss of the batch before it (MMP exercise 5).

    Box offsets, where the model predicts them, are not trained.

    Args:
        model: gives logits (B, C, S, R, rows, cols); of C channels the first `model.num_classes` are the logits.
        criterion: gets logits with the classes in dimension 1, and labels; for example nn.CrossEntropyLoss with any
            reduction.
        optimizer: updates the model's weights.
        img_batch: images (B, 3, H, W).
        lbl_batch: class indices (B, S, R, rows, cols); 0 is background.
        neg_ratio: with a number, the criterion sees only the anchors that `get_random_sampling_mask` picks.
        generator: decides which ones.

    Returns: the loss, averaged if the criterion does not reduce it.

    Raises: TrainingError if the loss is not finite; no weight has then moved.

    Example:
        >>> from mmpnet.train.model import MmpNet
        >>> _ = torch.manual_seed(0)
        >>> model = MmpNet(1, 1, box_regression=False, width_mult=0.25)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> images, labels = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 1, 8, 8)
        >>> losses = [step(model, nn.CrossEntropyLoss(), optimizer, images, labels) for _ in range(3)]
        >>> losses[-1] < losses[0]
        True
    """
    output = model(img_batch)
    logits = output[:, : getattr(model, "num_classes", output.shape[1])]
    labels = lbl_batch.long()
    if neg_ratio is not None:
        picked = get_random_sampling_mask(labels, neg_ratio, generator=generator).bool()
        logits, labels = logits.movedim(1, -1)[picked], labels[picked]  # (N, K), (N,)
    return update(optimizer, criterion(logits, labels).mean())


def update(optimizer: torch.optim.Optimizer, loss: Tensor, *, max_grad_norm: float | None = None) -> float:
    """Make one optimizer step along the gradient of a scalar loss and return the loss.

    max_grad_norm: a longer gradient is clipped to this norm.

    Raises: TrainingError if the loss, or the gradient to be clipped, is not finite; no weight has then moved.
    """
    value = float(loss.detach())
    require_finite(value)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if max_grad_norm is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient is {norm} at a loss of {value:.4g}, training stopped; lower --lr")
    optimizer.step()
    return value


def require_finite(loss: float) -> None:
    """Raises: TrainingError if the loss is not finite."""
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss}, training stopped; lower --lr, or look for damaged boxes or images")
