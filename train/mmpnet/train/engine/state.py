"""The state of a training run, and its initial value."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mmpnet.datasets.types import LabeledImage
from mmpnet.system.progress import Notice, no_notice
from mmpnet.train.artifacts.checkpoint import Progress
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.distillation.feature_maps import FeatureLoss
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.optim import build_optimizer, weight_average
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.inference_net import InputNormalization
from mmpnet.train.network.weights import load_weights


@dataclass(slots=True)
class TrainingState:
    """Weights, their average, the optimizer, and which epoch and batch the run has reached.

    feature_loss compares the network's map with that of a feature teacher, if the run has one.
    """

    network: MmpNet
    average: AveragedModel
    optimizer: torch.optim.AdamW
    epoch: int = 0
    batch: int = 0
    best: float = -1.0
    loss_sums: tuple[float, float] = (0.0, 0.0)
    feature_loss: FeatureLoss | None = None

    @property
    def averaged_network(self) -> MmpNet:
        """The network with the averaged weights: the one to evaluate and to deploy."""
        return cast(MmpNet, self.average.module)

    def mean_losses(self) -> tuple[float, float]:
        """Return classification and box loss of the epoch so far, means over its batches."""
        classification, box = (total / max(self.batch, 1) for total in self.loss_sums)
        return classification, box

    def finish_epoch(self, score: float) -> None:
        """Move to the next epoch; score: the accuracy after this one, or the best so far if it was not measured."""
        self.best = max(self.best, score)
        self.epoch, self.batch, self.loss_sums = self.epoch + 1, 0, (0.0, 0.0)

    def progress(self) -> Progress:
        """Return what last.pth stores in addition to the averaged weights."""
        return Progress(
            epoch=self.epoch,
            batch=self.batch,
            best=self.best,
            weights=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            loss_sums=self.loss_sums,
            feature_loss=None if self.feature_loss is None else self.feature_loss.state_dict(),
        )

    def restore(self, progress: Progress, average: dict[str, Tensor]) -> None:
        """Take over what last.pth kept, and the averaged weights."""
        self.network.load_state_dict(progress.weights)
        if self.feature_loss is not None:
            self.feature_loss.load_state_dict(progress.feature_loss or {})
        self.average.module.load_state_dict(average)
        self.optimizer.load_state_dict(progress.optimizer)
        self.epoch, self.batch, self.best = progress.epoch, progress.batch, progress.best
        self.loss_sums = progress.loss_sums


NORM_IMAGES = 128
"""Images whose statistics the batch norms of an exported network get, in batches of 16."""
_NORM_BATCH = 16


def start_state(
    config: TrainConfig,
    model: ModelConfig,
    images: Sequence[LabeledImage] = (),
    *,
    weights: str | None = None,
    feature_channels: int | None = None,
    notice: Notice = no_notice,
) -> TrainingState:
    """Return a seeded network with the weights it starts from, on the run's device; `notice` gets a line that says
    which.

    images: the images of the training; weights of an ONNX file need some of them. weights: replaces the one of the
    configuration. feature_channels: channels of the feature teacher's map, if there is one.

    Raises: CheckpointError for bad weights, DeviceError for an absent device.
    """
    device = resolve_device(config.run.device)
    torch.manual_seed(config.run.seed)
    network = model.build()
    head = HeadMeaning(model.class_names, model.anchors)
    notice(load_weights(network, weights or config.model.weights, head=head, images=_norm_batches(model, images)))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    enter_training_mode(network, freeze=config.model.freeze, freeze_norms=config.model.freeze_norms)
    feature_loss = None if feature_channels is None else FeatureLoss(model.channels, feature_channels).to(device)
    return TrainingState(
        network=network,
        average=weight_average(network, config.optim.ema_decay),
        optimizer=build_optimizer(network, config.optim, feature_loss),
        feature_loss=feature_loss,
    )


def _norm_batches(model: ModelConfig, images: Sequence[LabeledImage]) -> Iterator[Tensor]:
    """Yield images from the whole data set as the network gets them, (16, 3, H, W), read one batch at a time."""
    chosen = [images[i] for i in range(0, len(images), max(len(images) // NORM_IMAGES, 1))][:NORM_IMAGES]
    normalize = InputNormalization()
    for start in range(0, len(chosen), _NORM_BATCH):
        pixels = [model.letterbox.apply(image.read())[0] for image in chosen[start : start + _NORM_BATCH]]
        yield normalize(torch.from_numpy(np.stack(pixels)))
