"""mmp-train's step without a run around it; a test compares the two."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mmpnet.contract.errors import TrainingError
from mmpnet.train.artifacts.config import TrainConfig, config_of
from mmpnet.train.assignment import LabelGrid
from mmpnet.train.engine.device import resolve_device
from mmpnet.train.engine.state import start_state
from mmpnet.train.engine.train_step import TrainStep
from mmpnet.train.loading.loader import Batch

CLASS_NAMES = ("background", "person")
POSITIVES_PER_IMAGE = 12
SMALL_RATE = 1e-5
"""Random weights must not diverge on the same batches for minutes."""
_STEPS_PER_RUN = 1_000_000


def step_config(
    device: torch.device, *, batch: int, side_px: int, freeze: int, compiled: bool = False, amp: bool = True
) -> TrainConfig:
    """The recipe at these sizes, compiled or not; amp: in bfloat16 where the device computes in it.

    Raises: ValueError naming the first setting that is out of range.
    """
    options = {
        "device": str(device),
        "batch": batch,
        "input_hw": (side_px, side_px),
        "freeze": freeze,
        "compile": compiled,
        "amp": amp,
        "lr": SMALL_RATE,
        "backbone_lr": SMALL_RATE,
        "epochs": 1,
    }
    return config_of(options)


@dataclass(frozen=True, slots=True)
class StepWay:
    """A step to time: its configuration, and whether a pixel's channels lie side by side in memory, as mmp-train has
    them, or each channel is a plane of its own."""

    config: TrainConfig
    channels_last: bool = True


class StepBench:
    """A network with random weights, its optimizer and average, which takes one training step per batch."""

    def __init__(self, way: StepWay, class_names: tuple[str, ...] = CLASS_NAMES) -> None:
        self.way, self.config = way, way.config
        config = way.config
        self.device = resolve_device(config.run.device)
        self.peak_gpu_mb: float | None = None
        self._others_mb = torch.cuda.memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else 0.0
        model = config.model_config(class_names)
        self.state = start_state(config, model, weights="none")
        if not way.channels_last:
            self.state.network.to(memory_format=torch.contiguous_format)
        self._train_step = TrainStep(config, model, self.state, batches_per_epoch=_STEPS_PER_RUN)

    def step(self, batch: Batch) -> None:
        """One update; on a GPU it may still be running when this returns.

        Raises: TrainingError if the loss is not finite.
        """
        self._train_step(batch)

    def finish(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def warm_up(self, batches: Iterable[Batch]) -> None:
        """A step on each, which measures the most GPU memory that this bench needs, all that it holds included."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        for batch in batches:
            self.step(batch)
        self.finish()
        if self.device.type == "cuda":
            self.peak_gpu_mb = torch.cuda.max_memory_allocated(self.device) / 1e6 - self._others_mb


def synthetic_batch(config: TrainConfig) -> Batch:
    """Seeded noise with the same positives in every image, in the form and memory of the loader's batches."""
    count, input_hw = config.loading.batch, config.model.input_hw
    random = torch.Generator().manual_seed(0)
    anchors = config.anchors
    shape = anchors.grid_shape(input_hw)
    labels = torch.zeros((count, math.prod(shape)), dtype=torch.int16)
    labels[:, torch.randperm(math.prod(shape), generator=random)[:POSITIVES_PER_IMAGE]] = 1
    positive = labels.nonzero()[:, 1]
    batch = Batch(
        images_bgr=torch.randint(0, 256, (count, *input_hw, 3), dtype=torch.uint8, generator=random),
        target=LabelGrid(
            labels=labels.view(count, *shape),
            boxes_xyxy=torch.from_numpy(anchors.boxes_xyxy(input_hw))[positive],
            scores=torch.ones(len(positive)),
        ),
    )
    return batch.pin_memory() if config.run.device.startswith("cuda") else batch


@contextmanager
def exhaustion_as_training_error() -> Iterator[None]:
    """Raises: TrainingError, in one line, for what torch raises where memory is exhausted."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError("the device ran out of memory; lower --batch or --imgsz") from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise TrainingError(f"a loader process ended: {reason}; try fewer --workers, or more shared memory") from error
