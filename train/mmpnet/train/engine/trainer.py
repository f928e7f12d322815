"""The training run: epochs of batches, evaluation, checkpoints; stopped anywhere, it resumes to the same result."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._dynamo.exc import TorchDynamoException

from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, Evaluation, evaluate
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.distributed import World, require_shareable
from mmpnet.train.engine.malloc import keep_freed_memory
from mmpnet.train.engine.run_writer import EpochResult, TrainingReport
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.stopping import InterruptedRunError, StopRequest, stop_on_signal
from mmpnet.train.engine.train_step import TrainStep
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import StoredPictures
from mmpnet.train.loading.loader import Recipe, TrainingPictures, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, picture_weights
from mmpnet.train.model import enter_training_mode
from mmpnet.train.network.torch_detector import torch_detector

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
        if self._device.type == "cpu":
            keep_freed_memory()

    def execute(self, state: TrainingState) -> None:
        """Train from the state's epoch and batch to the last epoch's end, together with the world's other processes.

        Raises: InterruptedRunError after a signal, TrainingError on a non-finite loss; last.pth is then as saved.
        """
        batches_per_epoch = self._sampler(state).batches_per_epoch
        with _as_training_errors(), stop_on_signal() as stop, self._report.live(batches_per_epoch, state):
            train_step = TrainStep(
                self._config, self._model, state, batches_per_epoch=batches_per_epoch, world=self._world
            )
            while state.epoch < self._config.epochs:
                self._train_epoch(state, train_step, stop)
                self._finish_epoch(state, stop)

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

    def _train_epoch(self, state: TrainingState, train_step: TrainStep, stop: StopRequest) -> None:
        sampler = self._sampler(state)
        loader = training_loader(
            self._pictures, sampler, workers=self._config.workers, pin_memory=self._device.type == "cuda"
        )
        enter_training_mode(state.network, freeze=self._config.freeze, freeze_norms=self._config.freeze_norms)
        saved_at = time.monotonic()
        for batch in loader if len(sampler) else ():
            if isinstance(batch, DatasetError):
                raise batch
            losses = train_step(batch)
            self._report.batch_done(state, losses.learning_rate, images=len(batch.images_bgr) * self._world.size)
            # All processes act on what they agreed on here; a signal that comes later is for the next step.
            stopping = self._world.any(stop.asked)
            if stopping or time.monotonic() - saved_at > AUTOSAVE_S:
                self._report.save_last(state)
                saved_at = time.monotonic()
            if stopping:
                raise self._interrupted(state)
        self._report.save_last(state)

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
