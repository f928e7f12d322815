"""The training run: epochs of batches, evaluation, checkpoints; stopped anywhere, it resumes to the same result."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch

from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.runtime.evaluate import EVALUATION_THRESHOLDS, Evaluation, evaluate
from mmpnet.train.candidates import InputNormalisation
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.detector import torch_detector
from mmpnet.train.device import has_fast_bfloat16, resolve_device
from mmpnet.train.loader import Batch, TrainingPictures, training_loader
from mmpnet.train.losses import DetectionLoss
from mmpnet.train.model import enter_training_mode
from mmpnet.train.optim import set_learning_rate
from mmpnet.train.report import EpochResult, TrainingReport
from mmpnet.train.sampling import EpochSampler, generator, picture_weights
from mmpnet.train.state import TrainingState
from mmpnet.train.step import update

AUTOSAVE_S = 300.0


class InterruptedRunError(KeyboardInterrupt):
    """The user or the system asked to stop; everything needed to go on has been saved. Its text says how."""


@dataclass(slots=True)
class StopRequest:
    """Set by SIGINT or SIGTERM; a run ends at the next step, a second SIGINT ends it at once."""

    asked: bool = field(default=False)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request, so that no optimiser step is torn in two."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        del frame
        if request.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _as_training_errors() -> Iterator[None]:
    """What torch raises for a machine that is too small, as one line."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError("the device ran out of memory; lower --batch or --imgsz") from error
    except RuntimeError as error:
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
        val: Dataset | None,
        report: TrainingReport,
    ) -> None:
        self._config = config
        self._model = model
        self._val = val
        self._report = report
        self._device = resolve_device(config.device)
        self._pictures = TrainingPictures(train.pictures, model.anchors, model.letterbox, config.assignment)
        self._weights = picture_weights(train.pictures, config.group_weights)
        self._loss = DetectionLoss(negatives=config.negatives, neg_ratio=config.neg_ratio, box_weight=config.box_weight)
        self._normalise = InputNormalisation().to(self._device)
        self._anchors = torch.from_numpy(model.anchors.boxes_xyxy(model.input_hw)).to(self._device)
        self._autocast = config.amp and has_fast_bfloat16(self._device)

    def execute(self, state: TrainingState) -> None:
        """Train from the state's epoch and batch to the last epoch's end.

        Raises: InterruptedRunError after a signal, TrainingError on a non-finite loss; last.pth is then as saved.
        """
        with (
            _as_training_errors(),
            stop_on_signal() as stop,
            self._report.live(self._sampler(state).batches_per_epoch, state),
        ):
            while state.epoch < self._config.epochs:
                self._train_epoch(state, stop)
                self._finish_epoch(state, stop)

    def _sampler(self, state: TrainingState) -> EpochSampler:
        config = self._config
        return EpochSampler(
            self._weights, batch_size=config.batch, seed=config.seed, epoch=state.epoch, skip=state.batch
        )

    def _train_epoch(self, state: TrainingState, stop: StopRequest) -> None:
        sampler = self._sampler(state)
        loader = training_loader(
            self._pictures, sampler, workers=self._config.workers, pin_memory=self._device.type == "cuda"
        )
        enter_training_mode(state.network, freeze=self._config.freeze)
        saved_at = time.monotonic()
        for batch in loader if len(sampler) else ():
            if isinstance(batch, DatasetError):
                raise batch
            self._step(state, batch, sampler.batches_per_epoch)
            if stop.asked or time.monotonic() - saved_at > AUTOSAVE_S:
                self._report.save_last(state)
                saved_at = time.monotonic()
            self._stop_if_asked(state, stop)
        self._report.save_last(state)

    def _step(self, state: TrainingState, batch: Batch, batches_per_epoch: int) -> None:
        config = self._config
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
            output = state.network(images)
        draw = torch.Generator().manual_seed(int(generator(config.seed, 1, step).integers(2**62)))
        parts = self._loss(output, batch.target.to(self._device), self._anchors, generator=draw)
        total = update(state.optimizer, parts.total, max_grad_norm=config.max_grad_norm)
        box = float(parts.box.detach())
        state.average.update(state.network, step=step)
        state.batch += 1
        state.loss_sums = (state.loss_sums[0] + total - box, state.loss_sums[1] + box)
        self._report.batch_done(state, rate, images=len(batch.images_bgr))

    def _finish_epoch(self, state: TrainingState, stop: StopRequest) -> None:
        last = state.epoch + 1 == self._config.epochs
        evaluation = None
        if self._val is not None and (last or (state.epoch + 1) % self._config.eval_every == 0):
            evaluation = self._evaluate(self._val, state, stop)
        score = state.best if evaluation is None else evaluation.ap()
        is_best = self._val is None or score > state.best
        state.best = max(state.best, score)
        losses = tuple(total / max(state.batch, 1) for total in state.loss_sums)
        result = EpochResult(state.epoch + 1, losses[0], losses[1], evaluation)
        state.epoch, state.batch, state.loss_sums = state.epoch + 1, 0, (0.0, 0.0)
        self._report.epoch_done(state, result, is_best=is_best)

    def _evaluate(self, val: Dataset, state: TrainingState, stop: StopRequest) -> Evaluation:
        detect = torch_detector(
            state.average.network, self._model, thresholds=EVALUATION_THRESHOLDS, device=self._device
        )

        def watched(pictures: tuple[object, ...]) -> Iterator[object]:
            for picture in self._report.evaluation_progress(pictures):
                self._stop_if_asked(state, stop)
                yield picture

        return evaluate(detect, val, self._model.class_names, progress=watched)  # type: ignore[arg-type]

    def _stop_if_asked(self, state: TrainingState, stop: StopRequest) -> None:
        if stop.asked:
            raise InterruptedRunError(
                f"stopped in epoch {state.epoch + 1} after {state.batch} batches; go on with: "
                f"mmp-train --resume {self._report.folder}"
            )
