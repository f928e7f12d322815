"""The training run: epochs of batches, evaluation, checkpoints; stopped anywhere, it resumes to the same result."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, Evaluation, evaluate
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.engine.device import has_fast_bfloat16, resolve_device
from mmpnet.train.engine.distributed import World, require_shareable, sync_batch_norms
from mmpnet.train.engine.malloc import keep_freed_memory
from mmpnet.train.engine.optim import set_learning_rate
from mmpnet.train.engine.run_writer import EpochResult, TrainingReport
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.stopping import InterruptedRunError, StopRequest, stop_on_signal
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import StoredPictures
from mmpnet.train.loading.loader import Batch, Recipe, TrainingPictures, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, generator, picture_weights
from mmpnet.train.losses import DetectionLoss
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalisation
from mmpnet.train.network.torch_detector import torch_detector
from mmpnet.train.step import require_finite, update

AUTOSAVE_S = 300.0


@contextmanager
def _as_training_errors() -> Iterator[None]:
    """What torch raises for a machine that is too small, as one line."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError("the device ran out of memory; lower --batch or --imgsz") from error
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:160]
        raise TrainingError(
            f"torch.compile failed ({reason}); it needs a C++ compiler; or leave out --compile"
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise TrainingError("the machine ran out of memory; lower --batch or --imgsz") from error
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a loader process ended: {' '.join(str(error).split())[:160]}; try fewer --workers, or more shared memory"
        ) from error


class TrainingRun:
    """One run over one data set: its fixed parts. `execute` moves a state to the end of the last epoch."""

    def __init__(
        self,
        config: TrainConfig,
        model: ModelConfig,
        train: Dataset,
        stored: StoredPictures,
        val: Dataset | None,
        report: TrainingReport,
        world: World | None = None,
    ) -> None:
        self._world = world or World()
        require_shareable(config.batch, len(train.images), self._world)
        self._config = config
        self._model = model
        self._val = val
        self._report = report
        self._device = resolve_device(config.device)
        recipe = Recipe(model.anchors, model.pad_value, config.assignment, AUGMENTATIONS[config.augmentation])
        self._pictures = TrainingPictures(train.images, stored, recipe)
        self._input_sizes = config.input_sizes()
        self._weights = picture_weights(train.images, config.group_weights)
        self._loss = DetectionLoss(config.negatives, config.neg_ratio, config.box_loss, config.box_weight)
        self._normalise = InputNormalisation().to(self._device)
        self._anchors: dict[tuple[int, int], Tensor] = {}
        self._autocast = config.amp and has_fast_bfloat16(self._device)
        if self._device.type == "cpu":
            keep_freed_memory()

    def execute(self, state: TrainingState) -> None:
        """Train from the state's epoch and batch to the last epoch's end, together with the world's other processes.

        Raises: InterruptedRunError after a signal, TrainingError on a non-finite loss; last.pth is then as saved.
        """
        with (
            _as_training_errors(),
            stop_on_signal() as stop,
            self._report.live(self._sampler(state).batches_per_epoch, state),
        ):
            forward = self._forward(state.network)
            while state.epoch < self._config.epochs:
                self._train_epoch(state, forward, stop)
                self._finish_epoch(state, stop)

    def _forward(self, network: MmpNet) -> nn.Module:
        """The network, or what shares its gradients with the other processes; fused if that was asked for."""
        forward: nn.Module = network
        if not self._world.is_alone:
            sync_batch_norms(network)
            where = None if self._device.type == "cpu" else [self._device.index]
            forward = nn.parallel.DistributedDataParallel(network, device_ids=where)
        # Each input size gets code of its own: sizes as variables cost more than they save.
        return cast(nn.Module, torch.compile(forward, dynamic=False)) if self._config.compile else forward

    def _sampler(self, state: TrainingState) -> EpochSampler:
        config = self._config
        # The last epochs show pictures as they come from a camera.
        mosaic = config.mosaic if state.epoch < config.mosaic_until * config.epochs else 0.0
        plan = EpochPlan(self._input_sizes, mosaic, config.mosaic_grids)
        return EpochSampler(
            self._weights,
            plan,
            batch_size=config.batch,
            seed=config.seed,
            epoch=state.epoch,
            skip=state.batch,
            rank=self._world.rank,
            world=self._world.size,
        )

    def _train_epoch(self, state: TrainingState, forward: nn.Module, stop: StopRequest) -> None:
        sampler = self._sampler(state)
        loader = training_loader(
            self._pictures, sampler, workers=self._config.workers, pin_memory=self._device.type == "cuda"
        )
        enter_training_mode(state.network, freeze=self._config.freeze, freeze_norms=self._config.freeze_norms)
        saved_at = time.monotonic()
        for batch in loader if len(sampler) else ():
            if isinstance(batch, DatasetError):
                raise batch
            self._step(state, forward, batch, sampler.batches_per_epoch)
            # All processes act on what they agreed on here; a signal that comes later is for the next step.
            stopping = self._world.any(stop.asked)
            if stopping or time.monotonic() - saved_at > AUTOSAVE_S:
                self._report.save_last(state)
                saved_at = time.monotonic()
            if stopping:
                raise self._interrupted(state)
        self._report.save_last(state)

    def _step(self, state: TrainingState, forward: nn.Module, batch: Batch, batches_per_epoch: int) -> None:
        config, world = self._config, self._world
        step = state.epoch * batches_per_epoch + state.batch
        rate = set_learning_rate(
            state.optimizer,
            step=step,
            steps=config.epochs * batches_per_epoch,
            warmup_steps=config.warmup_steps,
        )
        images = self._normalise(batch.images_bgr.to(self._device, non_blocking=True))
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            output = forward(images)
        target = batch.target.to(self._device)
        parts = self._loss(
            output,
            target,
            self._anchors_of(batch.input_hw),
            # Gradients are averaged over the processes, so each divides by its share of the whole batch's positives.
            normaliser=world.total(target.scores.sum()).clamp(min=1) / world.size,
            noise=self._noise(output, step),
        )
        classification, box = (world.total(torch.stack([parts.classification, parts.box])) / world.size).tolist()
        require_finite(classification + box)
        update(state.optimizer, parts.total, max_grad_norm=config.max_grad_norm)
        state.average.update(state.network, step=step)
        state.batch += 1
        state.loss_sums = (state.loss_sums[0] + classification, state.loss_sums[1] + box)
        self._report.batch_done(state, rate, images=len(batch.images_bgr) * world.size)

    def _noise(self, output: Tensor, step: int) -> Tensor | None:
        """Which negatives `random` draws: this process's rows of what one process would draw for the whole batch."""
        if self._config.negatives != "random":
            return None
        draw = torch.Generator().manual_seed(int(generator(self._config.seed, 1, step).integers(2**62)))
        noise = torch.rand(len(output) * self._world.size, output[0, 0].numel(), generator=draw)
        return noise[self._world.rank :: self._world.size]

    def _anchors_of(self, input_hw: tuple[int, int]) -> Tensor:
        if input_hw not in self._anchors:
            self._anchors[input_hw] = torch.from_numpy(self._model.anchors.boxes_xyxy(input_hw)).to(self._device)
        return self._anchors[input_hw]

    def _finish_epoch(self, state: TrainingState, stop: StopRequest) -> None:
        last = state.epoch + 1 == self._config.epochs
        evaluation = None
        if self._val is not None and (last or (state.epoch + 1) % self._config.eval_every == 0):
            evaluation = self._evaluated_by_first(self._val, state, stop)
        score = state.best if evaluation is None else evaluation.ap()
        is_best = self._val is None or score > state.best
        state.best = max(state.best, score)
        losses = tuple(total / max(state.batch, 1) for total in state.loss_sums)
        result = EpochResult(state.epoch + 1, losses[0], losses[1], evaluation)
        state.epoch, state.batch, state.loss_sums = state.epoch + 1, 0, (0.0, 0.0)
        self._report.epoch_done(state, result, is_best=is_best)

    def _evaluated_by_first(self, val: Dataset, state: TrainingState, stop: StopRequest) -> Evaluation:
        """Evaluate in the first process; the others wait, and stop if it was stopped."""
        evaluation, stopped = None, False
        if self._world.is_first:
            try:
                evaluation = self._evaluate(val, state, stop)
            except InterruptedRunError:
                stopped = True
        if self._world.any(stopped):
            raise self._interrupted(state)
        evaluation = self._world.from_first(evaluation)
        assert evaluation is not None
        return evaluation

    def _evaluate(self, val: Dataset, state: TrainingState, stop: StopRequest) -> Evaluation:
        detect = torch_detector(
            state.average.network, self._model, thresholds=EVALUATION_THRESHOLDS, device=self._device
        )

        def watched(pictures: tuple[object, ...]) -> Iterator[object]:
            for picture in self._report.evaluation_progress(pictures):
                if stop.asked:
                    raise self._interrupted(state)
                yield picture

        return evaluate(detect, val, self._model.class_names, progress=watched)  # type: ignore[arg-type]

    def _interrupted(self, state: TrainingState) -> InterruptedRunError:
        return InterruptedRunError(
            f"stopped in epoch {state.epoch + 1} after {state.batch} batches; go on with: "
            f"mmp-train --resume {self._report.folder}"
        )
