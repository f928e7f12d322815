"""Training in several processes, as torchrun starts them.

Each process takes its share of every batch. Losses are divided by the whole batch's positives, gradients are averaged,
batch norms see the whole batch: the weights move as if one process had seen all of it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mmpnet.contract.errors import TrainingError, first_line

TIMEOUT = timedelta(hours=6)
"""Longer than the first process may take to evaluate while the others wait."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class World:
    """This process among all processes of a run: its rank, their number, and its rank on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    machine: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files, evaluates and reports."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, without gradient."""
        if self.is_alone:
            return value
        return _all_summed(value)

    def any(self, value: bool) -> bool:
        """Return whether the value is true in any process."""
        return value if self.is_alone else bool(self.total(torch.tensor([float(value)])).item())

    def from_first(self, value: _T) -> _T:
        """Return the value of the first process, in every process."""
        if self.is_alone:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        # A barrier would run on a GPU that it has to guess.
        self.total(torch.zeros(1))


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that the environment of torchrun describes, and leave them at the end; without torchrun there
    is one process.

    Raises: TrainingError if the processes do not find each other, or one of them ends early.
    """
    world = _described_world()
    if world.is_alone:
        yield world
        return
    if world.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(world.local_rank)  # code that asks for "cuda" then gets the GPU of this process
    try:
        # Both backends are needed, because flags are exchanged in CPU tensors and gradients are on the GPUs.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = first_line(error, most=160)
        raise TrainingError(
            f"process {world.rank} of {world.size} found no other ({reason}); start it with torchrun"
        ) from error
    try:
        yield world
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise TrainingError(
            f"process {world.rank} of {world.size} stopped, because another one did; its own message says why"
        ) from error
    finally:
        torch.distributed.destroy_process_group()


def is_first_process() -> bool:
    """Return whether this process is the first or the only one; known before the processes meet."""
    return _described_world().is_first


def _described_world() -> World:
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return World()
    return World(
        rank=int(os.environ["RANK"]),
        size=size,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        machine=int(os.environ.get("GROUP_RANK", "0")),
    )


def _is_of_the_connection(error: RuntimeError) -> bool:
    """Return whether an error is about the other processes: the errors of NCCL have a type, those of gloo only their
    text."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def device_name(asked: str, world: World) -> str:
    """Return the device of this process: if GPUs are requested or found, each process of torchrun takes the GPU of its
    rank on the machine."""
    if not world.is_alone and (asked == "cuda" or (asked == "auto" and torch.cuda.is_available())):
        return f"cuda:{world.local_rank}"
    return asked


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, for the CPU (Peng et al. 2018): nn.SyncBatchNorm needs GPUs."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        values = input.float()
        count = torch.tensor([values.numel() / values.shape[1]], device=values.device)
        sums = torch.cat([values.sum(dim=(0, 2, 3)), count])
        sums = _summed(sums)
        mean, total = sums[:-1] / sums[-1], sums[-1].detach()
        # Mean and variance take two passes, as in one process: E[x^2] - E[x]^2 loses digits if the mean is large.
        centered = values - mean[:, None, None]
        variance = _summed((centered**2).sum(dim=(0, 2, 3))) / total
        with torch.no_grad():
            momentum = self.momentum or 0.0
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * total / (total - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalized = centered * scale[:, None, None] + self.bias[:, None, None]
        return normalized.to(input.dtype)


class _Summed(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        return _all_summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _all_summed(gradient)


def _all_summed(value: Tensor) -> Tensor:
    summed = value.detach().clone()
    torch.distributed.all_reduce(summed)
    return summed


def _summed(value: Tensor) -> Tensor:
    return cast(Tensor, _Summed.apply(value))


def sync_batch_norms(network: nn.Module, device: torch.device) -> None:
    """Give every batch norm of a network on this device the statistics of the whole batch; parameters and their names
    stay."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for module in network.modules():
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                synced = SyncedBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
                synced.train(child.training)
                synced._parameters.update(child._parameters)
                synced._buffers.update(child._buffers)
                setattr(module, name, synced)


def require_shareable(batch: int, images: int, world: World) -> None:
    """Raises: TrainingError if the batch, or the data set, cannot be shared evenly by all processes."""
    if batch % world.size or (images < batch and images % world.size):
        found = f"batch {batch}" if batch % world.size else f"a data set of {images} images"
        raise TrainingError(
            f"{found} cannot be shared evenly by {world.size} processes; change --batch or their number"
        )
