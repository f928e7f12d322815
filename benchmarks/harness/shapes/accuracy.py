"""The accuracy that shapes of the network reach in a short training run."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.shapes.candidates import FRONT_BLOCKS, ShapeCandidate
from harness.shapes.pruning import fit_front, prune_front
from harness.training.batches import endless
from mmpnet.console.command import console
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import Evaluation, evaluate
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.train.artifacts.config import TrainConfig, config_of
from mmpnet.train.artifacts.provenance import provenance_of
from mmpnet.train.cli.run_display import RunDisplay
from mmpnet.train.engine.optim import build_optimizer, weight_average
from mmpnet.train.engine.run_writer import RunWriter
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.trainer import RunImages, Trainer
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.loader import Batch
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalization
from mmpnet.train.network.torch_detector import torch_detector
from mmpnet.train.network.weights import load_weights

FITTING_BATCH = 32


@dataclass(frozen=True, slots=True)
class ShortTraining:
    """What every candidate starts from and learns from; `front_steps` fit a front that is not the default one."""

    train: Dataset
    val: Dataset
    weights: str
    epochs: int
    front_steps: int

    def measure(self, candidate: ShapeCandidate) -> dict[str, str | float | None]:
        """Train a candidate with its first blocks frozen, and evaluate it.

        Raises: CheckpointError for bad weights, DatasetError for an image that cannot be read.
        """
        side_px = candidate.side_px
        stored = StoredImages(self.train.images, 2 * side_px)
        with closing(endless(self.train, stored, batch=FITTING_BATCH, side_px=side_px, workers=1)) as batches:
            network, error = starting_network(candidate, self.weights, batches, self.front_steps)
        options = {
            "train": (self.train.name,),
            "weights": self.weights,
            "epochs": self.epochs,
            "input_hw": (side_px, side_px),
            "freeze": FRONT_BLOCKS,
            "channels": network.predict.in_channels,
            "workers": 1,
        }
        measured = _trained(network, config_of(options), self.train, self.val)
        return {"name": candidate.name, "front_error": error, "AP": measured.ap(), "AP50": measured.ap("AP50")}


def starting_network(
    candidate: ShapeCandidate, weights: str, batches: Iterator[Batch], steps: int
) -> tuple[MmpNet, float | None]:
    """The candidate with ImageNet weights, and the remaining error of its front where that is not the default one.

    A narrower front is pruned from the default one and fitted to its outputs, so that it may stay frozen as well.
    """
    torch.manual_seed(0)
    network = candidate.build()
    if candidate.front is None:
        load_weights(network, weights)
        return network, None
    wide = MmpNet(1, 1)
    load_weights(wide, weights)
    own = network.features.state_dict()
    rest = {k: v for k, v in wide.features.state_dict().items() if int(k.split(".")[0]) >= FRONT_BLOCKS}
    network.features.load_state_dict({**own, **rest})
    narrow, front = network.features[:FRONT_BLOCKS], wide.features[:FRONT_BLOCKS].eval()
    prune_front(front, narrow, InputNormalization()(next(batches).images_bgr))
    return network, fit_front(narrow, front, batches, steps)


def _trained(network: MmpNet, config: TrainConfig, train: Dataset, val: Dataset) -> Evaluation:
    """Train with the recipe and evaluate the averaged weights; nothing is written."""
    network.to(memory_format=torch.channels_last)
    enter_training_mode(network, freeze=config.model.freeze)
    optim = config.optim
    state = TrainingState(network, weight_average(network, optim.ema_decay), build_optimizer(network, optim))
    model = config.model_config(train.class_names)
    provenance = provenance_of(config, train, None)
    stored = StoredImages(train.images, 2 * max(config.model.input_hw))
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder), config, model, provenance, writes=False)
        callbacks = RunDisplay(console()).callbacks().training
        Trainer(config, model, RunImages(train, stored, None), writer, callbacks=callbacks).train(state)
    detect = torch_detector(state.averaged_network, model, thresholds=EVALUATION_THRESHOLDS, device=torch.device("cpu"))
    return evaluate(detect, val, model.class_names)
