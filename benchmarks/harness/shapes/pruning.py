"""A narrow front (the network's first blocks) pruned from a wide one, and fitted to its outputs."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from harness.script import progress_bar
from harness.shapes.candidates import FRONT_BLOCKS
from mmpnet.train.engine.device import has_fast_bfloat16
from mmpnet.train.engine.optim import learning_rate_factor
from mmpnet.train.loading.loader import Batch
from mmpnet.train.network.inference_net import InputNormalization

FRONT_RATE = 3e-3
BLOCK_WEIGHTS = (0.1, 0.25, 0.5, 1.0)


def prune_front(wide: nn.Sequential, narrow: nn.Sequential, images: Tensor) -> None:
    """Fill a narrow front from a wide one: of each hidden layer the channels that contribute most on these images
    (B, 3, H, W), by mean activation times the size of the weights that read it (after Li et al. 2017)."""
    kept = {index: _most_used(wide, index, _hidden(narrow[index]), images) for index in range(1, FRONT_BLOCKS)}
    _copy(cast(nn.Sequential, narrow[0]), cast(nn.Sequential, wide[0]), kept[1])
    _copy(_convolution(narrow[1], 0), _convolution(wide[1], 0), kept[1])
    for index in range(2, FRONT_BLOCKS):
        for layer in (0, 1):
            _copy(_convolution(narrow[index], layer), _convolution(wide[index], layer), kept[index])
    for index, channels in kept.items():
        _projection(narrow[index]).weight.data.copy_(_projection(wide[index]).weight[:, channels])
        _layers(narrow[index])[-1].load_state_dict(_layers(wide[index])[-1].state_dict())


def _layers(block: nn.Module) -> nn.Sequential:
    """Expansion, depthwise convolution, projection and its norm; the first block has no expansion."""
    return cast(nn.Sequential, block.conv)


def _convolution(block: nn.Module, layer: int) -> nn.Sequential:
    """One of a block's layers that are a convolution, its norm and its activation."""
    return cast(nn.Sequential, _layers(block)[layer])


def _projection(block: nn.Module) -> nn.Conv2d:
    return cast(nn.Conv2d, _layers(block)[-2])


def _hidden(block: nn.Module) -> int:
    return _projection(block).in_channels


def _most_used(front: nn.Sequential, index: int, count: int, images: Tensor) -> Tensor:
    """The hidden channels (count,) of a block that contribute most, in ascending order."""
    seen: list[Tensor] = []
    projection = _projection(front[index])
    handle = projection.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].abs().mean(dim=(0, 2, 3))))
    with torch.inference_mode():
        front[: index + 1](images)
    handle.remove()
    use = seen[0] * projection.weight.detach().abs().sum(dim=(0, 2, 3))
    kept: Tensor = use.topk(count).indices.sort().values
    return kept


def _copy(narrow: nn.Sequential, wide: nn.Sequential, channels: Tensor) -> None:
    """Output channels of a convolution (of full or depthwise input) and its norm."""
    cast(nn.Conv2d, narrow[0]).weight.data.copy_(cast(nn.Conv2d, wide[0]).weight[channels])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(narrow[1], name).data.copy_(getattr(wide[1], name)[channels])


def fit_front(narrow: nn.Sequential, wide: nn.Sequential, batches: Iterator[Batch], steps: int) -> float:
    """Train a narrow front to give the wide front's outputs; the remaining error, mean of the last 20 steps.

    The error is the squared difference of the last outputs over their variance.
    """
    normalize = InputNormalization()
    optimizer = torch.optim.AdamW(narrow.parameters(), lr=FRONT_RATE, weight_decay=1e-4)
    errors: list[float] = []
    wide.eval()
    narrow.train()
    for step in progress_bar(range(steps), "fitting the front"):
        for group in optimizer.param_groups:
            group["lr"] = FRONT_RATE * learning_rate_factor(step=step, steps=steps, warmup_steps=min(20, steps))
        images = normalize(next(batches).images_bgr).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(torch.device("cpu"))):
            with torch.no_grad():
                expected = _block_outputs(wide, images)
            found = _block_outputs(narrow, images)
        shares = [((a - b) ** 2).mean() / b.var() for a, b in zip(found, expected, strict=True)]
        loss = cast(Tensor, sum(weight * share for weight, share in zip(BLOCK_WEIGHTS, shares, strict=True)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        errors.append(float(shares[-1].detach()))
    last = errors[-20:]
    return sum(last) / len(last)


def _block_outputs(front: nn.Sequential, images: Tensor) -> list[Tensor]:
    """The outputs of blocks 1 to 4."""
    outputs = []
    for index, block in enumerate(front):
        images = block(images)
        if index:
            outputs.append(images.float())
    return outputs
