"""Optimizer, learning-rate schedule and weight average."""

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mmpnet.train.artifacts.options import OptimOptions
from mmpnet.train.model import MmpNet

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def build_optimizer(network: MmpNet, options: OptimOptions, feature_loss: nn.Module | None = None) -> torch.optim.AdamW:
    """Build AdamW in four groups: backbone and head at their own rates, weight decay for convolution kernels only.

    feature_loss: a loss with weights, which are learned at the head's rate in a fifth group, without decay.
    """
    backbone = {id(p) for p in network.features.parameters()}
    groups = []
    for base_lr, in_backbone in ((options.backbone_lr, True), (options.lr, False)):
        own = [p for p in network.parameters() if p.requires_grad and (id(p) in backbone) == in_backbone]
        groups.append(
            {
                "params": [p for p in own if p.dim() > 1],
                "base_lr": base_lr,
                "weight_decay": options.weight_decay,
            }
        )
        groups.append({"params": [p for p in own if p.dim() <= 1], "base_lr": base_lr, "weight_decay": 0.0})
    if feature_loss is not None:
        groups.append({"params": list(feature_loss.parameters()), "base_lr": options.lr, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=options.lr)


def set_learning_rate(optimizer: torch.optim.Optimizer, *, step: int, steps: int, warmup_steps: int) -> float:
    """Set the rates of a 0-based step: linear warm-up, then a cosine to zero. Returns the largest rate."""
    factor = learning_rate_factor(step=step, steps=steps, warmup_steps=warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(float(group["lr"]) for group in optimizer.param_groups)


def learning_rate_factor(*, step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the full rate at a 0-based step of a run of `steps`; the warm-up takes at most a fifth of
    them."""
    warmup_steps = min(warmup_steps, steps // 5)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


def weight_average(network: MmpNet, decay: float) -> AveragedModel:
    """Return an exponential moving average of a network's weights and batch-norm statistics; its `module` can be
    evaluated.

    Early steps count more, so that the average forgets the start.
    """

    def move(averaged: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            count = int(num_averaged)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, count / (count + 9)))
        else:  # batch counters
            torch._foreach_copy_(averaged, current)

    average = AveragedModel(network, multi_avg_fn=move, use_buffers=True)
    average.module.eval().requires_grad_(requires_grad=False)
    return average


def update_average(average: AveragedModel, network: nn.Module, *, step: int) -> None:
    """Move the average towards the weights after a 0-based step."""
    # The count comes from the step, so that a resumed run needs no counter; 0 would copy the weights.
    average.n_averaged.fill_(step + 1)
    average.update_parameters(network)
