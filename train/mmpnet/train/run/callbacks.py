"""Callables that report the progress of a run; the defaults do nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmpnet.datasets.statistics import DatasetStatistics
from mmpnet.system.progress import Notice, Progress, no_notice
from mmpnet.train.engine.callbacks import TrainingCallbacks, ignored
from mmpnet.train.run.anchor_fit import Coverage


@dataclass(frozen=True, slots=True)
class RunCallbacks:
    """The functions that a run calls.

    notice gets one line of text, data_read the statistics of the training data, and anchors_covered how well the
    anchors cover its boxes. training has the callbacks from the first batch on, and the one for progress.
    """

    notice: Notice = no_notice
    data_read: Callable[[DatasetStatistics], object] = ignored
    anchors_covered: Callable[[Sequence[Coverage]], object] = ignored
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)

    @property
    def progress(self) -> Progress:
        """Reports the progress of long work."""
        return self.training.progress
