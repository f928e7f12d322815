"""One training step: the update of a training state from one batch, for the trainer and for the benchmarks."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.distillation.feature_maps import FeatureTeacher
from mmpnet.train.engine.device import has_fast_bfloat16, resolve_device
from mmpnet.train.engine.distributed import World, sync_batch_norms
from mmpnet.train.engine.mixed_precision import keep_strided_depthwise_in_float32
from mmpnet.train.engine.optim import set_learning_rate, update_average
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.loading.loader import Batch
from mmpnet.train.loading.sampling import generator
from mmpnet.train.losses import DetectionLoss
from mmpnet.train.model import MmpNet
from mmpnet.train.network.inference_net import InputNormalization
from mmpnet.train.step import require_finite, update


@dataclass(frozen=True, slots=True)
class StepLosses:
    """Losses of a batch before its update, over all processes, and the largest learning rate of the update."""

    classification: float
    box: float
    learning_rate: float


class TrainStep:
    """Updates the weights, their average and the counters of a training state, batch after batch.

    batches_per_epoch: the length of an epoch, which with the number of epochs gives the learning-rate curve. The device
    is that of the configuration; `world` are the processes that share each batch, by default this one alone. With a
    feature teacher, the state has a feature loss, and the batch is not shared.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ModelConfig,
        state: TrainingState,
        *,
        batches_per_epoch: int,
        world: World | None = None,
        feature_teacher: FeatureTeacher | None = None,
    ) -> None:
        self._config = config
        self._model = model
        self._state = state
        self._batches_per_epoch = batches_per_epoch
        self._world = world or World()
        self._device = resolve_device(config.run.device)
        self._autocast = config.run.amp and has_fast_bfloat16(self._device)
        if self._autocast and self._device.type == "cpu":
            keep_strided_depthwise_in_float32(state.network)
        self._feature_teacher = feature_teacher
        self._memory_format = _memory_format(state.network)
        self._forward = self._wrapped(_MapAndOutput(state.network))
        self._loss = DetectionLoss(
            config.loss.negatives, config.loss.neg_ratio, config.loss.box_loss, config.loss.box_weight
        )
        self._normalize = InputNormalization().to(self._device)
        self._anchors: dict[tuple[int, int], Tensor] = {}

    def __call__(self, batch: Batch) -> StepLosses:
        """Make one update; returns the losses before it.

        Raises: TrainingError if the loss or the gradient is not finite; no weight has then moved.
        """
        config, state, world = self._config, self._state, self._world
        step = state.epoch * self._batches_per_epoch + state.batch
        rate = set_learning_rate(
            state.optimizer,
            step=step,
            steps=config.schedule.epochs * self._batches_per_epoch,
            warmup_steps=config.schedule.warmup_steps,
        )
        grid, output = self._grid_and_output(batch)
        target = batch.target.to(self._device)
        parts = self._loss(
            output,
            target,
            self._anchors_of(batch.input_hw),
            # Gradients are averaged over the processes, so each divides by its share of the whole batch's positives.
            normalizer=world.total(target.scores.sum()).clamp(min=1) / world.size,
            noise=self._noise(output, step),
        )
        classification, box = (world.total(torch.stack([parts.classification, parts.box])) / world.size).tolist()
        require_finite(classification + box)
        total = parts.total + self._feature_loss(batch, grid)
        update(state.optimizer, total, max_grad_norm=config.optim.max_grad_norm)
        update_average(state.average, state.network, step=step)
        state.batch += 1
        state.loss_sums = (state.loss_sums[0] + classification, state.loss_sums[1] + box)
        return StepLosses(classification, box, rate)

    def _wrapped(self, forward: nn.Module) -> nn.Module:
        """Return the module, or a wrapper that shares gradients with the other processes; compiled if that is
        configured."""
        if not self._world.is_alone:
            sync_batch_norms(self._state.network, self._device)
            where = None if self._device.type == "cpu" else [self._device.index]
            forward = nn.parallel.DistributedDataParallel(forward, device_ids=where)
        # Each input size is compiled separately: code for any size is slower.
        return cast(nn.Module, torch.compile(forward, dynamic=False)) if self._config.run.compile else forward

    def _feature_loss(self, batch: Batch, grid: Tensor) -> Tensor | float:
        """Return the weighted loss of the network's map against that of the feature teacher; 0 without one."""
        if self._feature_teacher is None or self._state.feature_loss is None:
            return 0.0
        taught = self._feature_teacher(batch.images_bgr).to(self._device)
        loss: Tensor = self._state.feature_loss(grid, taught)
        return self._config.distillation.feature_weight * loss

    def _grid_and_output(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images = self._normalize(batch.images_bgr.to(self._device, non_blocking=True))
        images = images.contiguous(memory_format=self._memory_format)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            grid, output = self._forward(images)
        return grid, output

    def _noise(self, output: Tensor, step: int) -> Tensor | None:
        """Return the numbers that decide which negatives `random` takes: the rows of this process in one draw for the
        batch."""
        if self._config.loss.negatives != "random":
            return None
        draw = torch.Generator().manual_seed(int(generator(self._config.run.seed, 1, step).integers(2**62)))
        noise = torch.rand(len(output) * self._world.size, output[0, 0].numel(), generator=draw)
        return noise[self._world.rank :: self._world.size]

    def _anchors_of(self, input_hw: tuple[int, int]) -> Tensor:
        """Return anchors (A, 4) in input px, on the device; each input size is computed once."""
        if input_hw not in self._anchors:
            self._anchors[input_hw] = torch.from_numpy(self._model.anchors.boxes_xyxy(input_hw)).to(self._device)
        return self._anchors[input_hw]


def _memory_format(network: nn.Module) -> torch.memory_format:
    """That of the first convolution's weights, which its images share."""
    kernel = next(module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
    channels_last = kernel.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


class _MapAndOutput(nn.Module):
    """The network with two outputs: the map of the label grid, and what it predicts from it."""

    def __init__(self, network: MmpNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.network.grid_map(images)
        return grid, self.network.predict_anchors(grid)
