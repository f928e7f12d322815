"""The training run: epochs of batches, evaluation, checkpoints; a stopped run resumes to the same result."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch._dynamo.exc import TorchDynamoException

from mmpnet.contract.errors import DatasetError, TrainingError, first_line
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import Evaluation, evaluate
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.system.signals import InterruptedRunError, stop_on_signal
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.distillation.feature_maps import FeatureTeacher
from mmpnet.train.engine.callbacks import BatchProgress, EpochResult, TrainingCallbacks
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.distributed import World, require_shareable
from mmpnet.train.engine.malloc import keep_freed_memory
from mmpnet.train.engine.run_writer import RunWriter
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.train_step import TrainStep
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.loader import Recipe, TrainingImages, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, image_weights
from mmpnet.train.model import enter_training_mode
from mmpnet.train.network.torch_detector import torch_detector

AUTOSAVE_S = 300.0


@contextmanager
def _as_training_errors() -> Iterator[None]:
    """Turn errors of torch for too little memory, a failed compilation or a lost loader process into one line."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError("the device ran out of memory; lower --batch or --imgsz") from error
    except TorchDynamoException as error:
        raise TrainingError(
            f"torch.compile failed ({first_line(error, most=160)}); it needs a C++ compiler; or leave out --compile"
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise TrainingError("the machine ran out of memory; lower --batch or --imgsz") from error
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a loader process ended: {first_line(error, most=160)}; try fewer --workers, or more shared memory"
        ) from error


@dataclass(frozen=True, slots=True)
class RunImages:
    """The images to learn from, the source of their pixels, and the validation set, if there is one."""

    train: Dataset
    stored: StoredImages
    val: Dataset | None


class Trainer:
    """Moves a training state to the end of the last epoch; this holds what stays the same in a run.

    world: the processes that share the run; default: this one alone. feature_teacher: the detector whose maps are
    learned too.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ModelConfig,
        images: RunImages,
        writer: RunWriter,
        *,
        world: World | None = None,
        callbacks: TrainingCallbacks | None = None,
        feature_teacher: FeatureTeacher | None = None,
    ) -> None:
        self._feature_teacher = feature_teacher
        self._world = world or World()
        require_shareable(config.loading.batch, len(images.train.images), self._world)
        self._config = config
        self._model = model
        self._val = images.val
        self._writer = writer
        self._callbacks = callbacks or TrainingCallbacks()
        self._device = resolve_device(config.run.device)
        augmentation = AUGMENTATIONS[config.loading.augmentation]
        recipe = Recipe(model.anchors, model.pad_value, config.loss.assignment, augmentation)
        self._training_images = TrainingImages(images.train.images, images.stored, recipe)
        self._weights = image_weights(images.train.images, config.data.group_weights)
        self._epoch_started_s = 0.0
        if self._device.type == "cpu":
            keep_freed_memory()

    def train(self, state: TrainingState) -> None:
        """Train from the state's epoch and batch to the last epoch's end, together with the world's other processes.

        Raises: InterruptedRunError after a signal, TrainingError on a non-finite loss; last.pth is then as saved.
        """
        config, batches_per_epoch = self._config, self._sampler(state).batches_per_epoch
        done = state.epoch * batches_per_epoch + state.batch
        # torchrun forwards SIGTERM, so it may arrive twice; the second one must not end the last step.
        signals = stop_on_signal(threading.Event(), forceful=[signal.SIGINT])
        with _as_training_errors(), signals as stop:
            self._callbacks.started(config.schedule.epochs, batches_per_epoch, done)
            self._epoch_started_s = time.monotonic()
            try:
                train_step = TrainStep(
                    config,
                    self._model,
                    state,
                    batches_per_epoch=batches_per_epoch,
                    world=self._world,
                    feature_teacher=self._feature_teacher,
                )
                while state.epoch < config.schedule.epochs:
                    self._train_epoch(state, train_step, stop)
                    self._finish_epoch(state, stop)
            finally:
                self._callbacks.ended()

    def _sampler(self, state: TrainingState) -> EpochSampler:
        loading, epochs = self._config.loading, self._config.schedule.epochs
        mosaic = loading.mosaic_in(state.epoch, epochs)
        return EpochSampler(
            self._weights,
            EpochPlan(self._config.input_sizes(), mosaic, loading.mosaic_grids),
            batch_size=loading.batch,
            seed=self._config.run.seed,
            epoch=state.epoch,
            skip=state.batch,
            shard=(self._world.rank, self._world.size),
        )

    def _train_epoch(self, state: TrainingState, train_step: TrainStep, stop: threading.Event) -> None:
        sampler, model = self._sampler(state), self._config.model
        loader = training_loader(
            self._training_images, sampler, workers=self._config.loading.workers, pin_memory=self._device.type == "cuda"
        )
        enter_training_mode(state.network, freeze=model.freeze, freeze_norms=model.freeze_norms)
        saved_at_s = time.monotonic()
        for batch in loader if len(sampler) else ():
            if isinstance(batch, DatasetError):
                raise batch
            losses = train_step(batch)
            self._report_batch(state, losses.learning_rate, images=len(batch.images_bgr) * self._world.size)
            # All processes act on this shared decision; a later signal counts for the next step.
            stopping = self._world.any(stop.is_set())
            if stopping or time.monotonic() - saved_at_s > AUTOSAVE_S:
                self._writer.save_last(state)
                saved_at_s = time.monotonic()
            if stopping:
                raise self._interrupted(state)
        self._writer.save_last(state)

    def _report_batch(self, state: TrainingState, learning_rate: float, *, images: int) -> None:
        classification, box = state.mean_losses()
        self._callbacks.batch_done(BatchProgress(state.epoch + 1, classification, box, learning_rate, images))

    def _finish_epoch(self, state: TrainingState, stop: threading.Event) -> None:
        schedule = self._config.schedule
        last = state.epoch + 1 == schedule.epochs
        evaluation = None
        if self._val is not None and (last or (state.epoch + 1) % schedule.eval_every == 0):
            evaluation = self._evaluated_by_first(self._val, state, stop)
        score = state.best if evaluation is None else evaluation.ap()
        now_s = time.monotonic()
        result = EpochResult(
            state.epoch + 1,
            *state.mean_losses(),
            seconds=now_s - self._epoch_started_s,
            evaluation=evaluation,
            is_best=self._val is None or score > state.best,
        )
        self._epoch_started_s = now_s
        state.finish_epoch(score)
        self._writer.epoch_done(state, result)
        self._callbacks.epoch_done(result)

    def _evaluated_by_first(self, val: Dataset, state: TrainingState, stop: threading.Event) -> Evaluation:
        """Evaluate in the first process; the others wait for its result, or stop with it."""
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

    def _evaluate(self, val: Dataset, state: TrainingState, stop: threading.Event) -> Evaluation:
        detect = torch_detector(
            state.averaged_network, self._model, thresholds=EVALUATION_THRESHOLDS, device=self._device
        )

        def until_stopped(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
            for image in self._callbacks.progress(images, "evaluating"):
                if stop.is_set():
                    raise self._interrupted(state)
                yield image

        return evaluate(detect, val, self._model.class_names, progress=until_stopped)

    def _interrupted(self, state: TrainingState) -> InterruptedRunError:
        return InterruptedRunError(
            f"stopped in epoch {state.epoch + 1} after {state.batch} batches; resume it with: "
            f"mmp-train --resume {self._writer.folder}"
        )
