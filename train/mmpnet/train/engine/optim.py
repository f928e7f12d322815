"""Optimizer, learning-rate schedule and weight average."""

import copy
import math

import torch
from torch import Tensor, nn

from mmpnet.train.artifacts.options import OptimOptions
from mmpnet.train.model import MmpNet


def build_optimizer(network: MmpNet, options: OptimOptions) -> torch.optim.AdamW:
    """AdamW in four groups: backbone and head at their own rates, weight decay for convolution kernels only."""
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
    return torch.optim.AdamW(groups, lr=options.lr)


def set_learning_rate(optimizer: torch.optim.Optimizer, *, step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; returns the largest rate in force."""
    factor = learning_rate_factor(step=step, steps=steps, warmup_steps=warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(float(group["lr"]) for group in optimizer.param_groups)


def learning_rate_factor(*, step: int, steps: int, warmup_steps: int) -> float:
    """Share of the full rate at a step, 0-based, of so many steps; the warm-up takes a fifth of them at most."""
    warmup_steps = min(warmup_steps, steps // 5)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


class WeightAverage:
    """Exponential moving average of a network's weights and batch-norm statistics, itself a network to evaluate."""

    def __init__(self, network: MmpNet, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, *, step: int) -> None:
        """Move towards the weights after a 0-based step; early steps count more, so that the start is forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averaged, current = _split(self.network), _split(network)
        torch._foreach_lerp_(averaged[0], current[0], 1 - decay)
        for mine, theirs in zip(averaged[1], current[1], strict=True):
            mine.copy_(theirs)


def _split(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Floating-point tensors of the state, and the rest (batch counters)."""
    state = list(network.state_dict().values())
    return [t for t in state if t.is_floating_point()], [t for t in state if not t.is_floating_point()]
