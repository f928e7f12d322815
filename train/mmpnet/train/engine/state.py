"""All that changes while training, and how it starts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmpnet.datasets.types import LabeledImage
from mmpnet.train.artifacts.checkpoint import Progress
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.optim import WeightAverage, build_optimizer
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalisation
from mmpnet.train.network.weights import load_weights


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


NORM_PICTURES = 128
"""How many pictures open the batch norms of an exported network again, in batches of 16."""
_NORM_BATCH = 16


def start_state(
    config: TrainConfig,
    model: ModelConfig,
    pictures: Sequence[LabeledImage] = (),
    *,
    say: Callable[[str], object] = str,
) -> TrainingState:
    """A seeded network with the weights it starts from, on the run's device; `say` hears which.

    pictures: what it will learn from; weights of an ONNX file need some.

    Raises: CheckpointError for bad weights, DeviceError for an absent device.
    """
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    network = model.build()
    say(load_weights(network, config.weights, pictures=_norm_batches(model, pictures)))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    enter_training_mode(network, freeze=config.freeze, freeze_norms=config.freeze_norms)
    return TrainingState(
        network=network,
        average=WeightAverage(network, config.ema_decay),
        optimizer=build_optimizer(network, config),
    )


def _norm_batches(model: ModelConfig, pictures: Sequence[LabeledImage]) -> Iterator[Tensor]:
    """Pictures from all over the data set as the network will be shown them, (16, 3, H, W), read when asked for."""
    chosen = [pictures[i] for i in range(0, len(pictures), max(len(pictures) // NORM_PICTURES, 1))][:NORM_PICTURES]
    normalise = InputNormalisation()
    for start in range(0, len(chosen), _NORM_BATCH):
        pixels = [model.letterbox.apply(picture.read())[0] for picture in chosen[start : start + _NORM_BATCH]]
        yield normalise(torch.from_numpy(np.stack(pixels)))
