"""Blend the weights before and after training, so that a model learns one camera and forgets less of the others.

The mean of the weights before and after fine-tuning often keeps most of the gain and loses little elsewhere (Wortsman
et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.system.progress import Notice, Progress
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mmpnet.train.engine.state import start_state
from mmpnet.train.network.torch_detector import torch_detector

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the change by training that are tried, from all of it down."""


def blend(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights and batch-norm statistics at this share of the way from `before` to `after`; counters are those of
    `after`."""
    return {
        name: torch.lerp(before[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in after.items()
    }


def write_blended(
    trained: Path, target: Path, general: Path, *, most_loss: float, notice: Notice, progress: Progress
) -> float:
    """Write the checkpoint with the largest share of the change that loses at most `most_loss` AP on general images,
    and return the share.

    trained: last.pth of a run. general: images that are neither learned nor part of the proof.

    Raises: CheckpointError or DatasetError for damaged files; OutputError if the checkpoint cannot be written.
    """
    checkpoint, dataset = load_checkpoint(trained), load_dataset([general], "val", undivided=True)
    before = weights_before(checkpoint)
    start_ap = _ap(checkpoint, before, dataset, "before the training", progress)
    for share in SHARES:
        weights = blend(before, checkpoint.ema, share)
        loss = start_ap - _ap(checkpoint, weights, dataset, f"{share:.0%} of the change", progress)
        if loss <= most_loss:
            break
    notice(f"{share:.0%} of the change is kept: AP {-loss:+.3f} on {len(dataset.images)} general images")
    provenance = msgspec.structs.replace(checkpoint.provenance, evaluation=None)
    save_checkpoint(target, Checkpoint(checkpoint.model, checkpoint.train, provenance, weights, None))
    return share


def weights_before(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights that the run started from; those of an exported file get the same batch norms again."""
    config = checkpoint.train
    train = load_dataset([Path(path) for path in config.data.train], "train", config.data.classes)
    return start_state(config, checkpoint.model, train.images).averaged_network.state_dict()


def _ap(checkpoint: Checkpoint, weights: dict[str, Tensor], dataset: Dataset, what: str, progress: Progress) -> float:
    network = checkpoint.model.build()
    network.load_state_dict(weights)
    detect = torch_detector(
        network.eval(), checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=torch.device("cpu")
    )

    def shown(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(progress(images, f"{what}, on general images"))

    return evaluate(detect, dataset, checkpoint.model.class_names, progress=shown).ap("AP")
