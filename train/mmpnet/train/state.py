"""All that changes while training, and how it starts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmpnet.train.checkpoint import Progress
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.device import resolve_device
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.optim import WeightAverage, build_optimizer
from mmpnet.train.weights import load_weights


@dataclass(slots=True)
class TrainingState:
    """Weights, their average, the optimiser, and how far the run is."""

    network: MmpNet
    average: WeightAverage
    optimizer: torch.optim.AdamW
    epoch: int = 0
    batch: int = 0
    best: float = -1.0
    loss_sums: tuple[float, float] = (0.0, 0.0)

    def progress(self) -> Progress:
        return Progress(
            epoch=self.epoch,
            batch=self.batch,
            best=self.best,
            weights=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            loss_sums=self.loss_sums,
        )

    def restore(self, progress: Progress, average: dict[str, Tensor]) -> None:
        self.network.load_state_dict(progress.weights)
        self.average.network.load_state_dict(average)
        self.optimizer.load_state_dict(progress.optimizer)
        self.epoch, self.batch, self.best = progress.epoch, progress.batch, progress.best
        self.loss_sums = progress.loss_sums


def start_state(config: TrainConfig, model: ModelConfig, *, say: Callable[[str], object] = str) -> TrainingState:
    """A seeded network with the weights it starts from, on the run's device; `say` hears which.

    Raises: CheckpointError for bad weights, DeviceError for an absent device.
    """
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    network = model.build()
    say(load_weights(network, config.weights))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    enter_training_mode(network, freeze=config.freeze, freeze_norms=config.freeze_norms)
    return TrainingState(
        network=network,
        average=WeightAverage(network, config.ema_decay),
        optimizer=build_optimizer(network, config),
    )
