"""The mean of several checkpoints' weights (Wortsman et al. 2022)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from harness.script import progress_named
from mmpnet.contract.errors import CheckpointError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.train.artifacts.checkpoint import Checkpoint
from mmpnet.train.network.torch_detector import torch_detector


def averaged(paths: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The first checkpoint with the mean of all floating-point weights; counters are those of the first.

    Raises: CheckpointError if the networks differ in shape.
    """
    first = checkpoints[0]
    for path, other in zip(paths, checkpoints, strict=True):
        if other.model != first.model:
            raise CheckpointError(f"{path}: is another network than {paths[0]}; only weights of one shape have a mean")
    ema: dict[str, Tensor] = {
        name: torch.stack([one.ema[name] for one in checkpoints]).mean(dim=0) if value.is_floating_point() else value
        for name, value in first.ema.items()
    }
    return dataclasses.replace(first, ema=ema, progress=None)


def checkpoint_accuracy(checkpoint: Checkpoint, dataset: Dataset, what: str) -> dict[str, float | int | None]:
    """mmp-val's numbers of the weights; `what` names the progress bar."""
    detect = torch_detector(
        checkpoint.network(), checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=torch.device("cpu")
    )
    names = checkpoint.model.class_names
    return evaluate(detect, dataset, names, progress=progress_named(what)).as_dict()
