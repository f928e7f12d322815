"""Callables that report the progress of training; the defaults do nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from mmpnet.evaluation.evaluate import Evaluation
from mmpnet.system.progress import Progress, no_progress


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One finished batch of the epoch counted from 1: mean losses of the epoch so far, rate, images of the batch."""

    epoch: int
    classification_loss: float
    box_loss: float
    learning_rate: float
    images: int


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One finished epoch, counted from 1: its mean losses, its duration and, where it was measured, its accuracy."""

    epoch: int
    classification_loss: float
    box_loss: float
    seconds: float
    evaluation: Evaluation | None
    is_best: bool


def ignored(*event: object) -> None:
    """Ignores an event."""


@dataclass(frozen=True, slots=True)
class TrainingCallbacks:
    """started: gets the number of epochs, of batches in each, and of batches that are done already; ended: is called
    after success and after failure; progress: shows how far an evaluation is."""

    started: Callable[[int, int, int], object] = ignored
    batch_done: Callable[[BatchProgress], object] = ignored
    epoch_done: Callable[[EpochResult], object] = ignored
    ended: Callable[[], object] = ignored
    progress: Progress = no_progress
