"""One variant of the negative-mining exercise: its network, its epochs and its checkpoint."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from anchor_logits import ANCHORS, AutocastNet, ImagesInMemory, anchor_detector
from exercise_record import make_folder
from mmpnet.console.progress import progress_bar
from mmpnet.contract.errors import CheckpointError, TrainingError
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.system.files import atomic_write, is_file
from mmpnet.train.loading.sampling import generator
from mmpnet.train.mining import hard_negatives
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalization
from mmpnet.train.network.weights import load_weights
from mmpnet.train.step import step, update

NEG_RATIO = 2.0
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4


@dataclass(slots=True)
class Trainee:
    """One variant's network, its optimizer and its curve: one entry per finished epoch."""

    variant: str
    network: MmpNet
    forward: nn.Module
    optimizer: torch.optim.SGD
    curve: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Course:
    """What all variants have in common: the images, their order, and the device."""

    train: ImagesInMemory
    val: Dataset
    class_names: tuple[str, ...]
    batch: int
    seed: int
    device: torch.device


def start_trainee(
    variant: str, num_classes: int, weights: str, device: torch.device, seed: int, *, compiled: bool = False
) -> Trainee:
    """Return a seeded network of the exercise's shape with its backbone weights, and plain SGD over all of it.

    Raises: CheckpointError for bad weights.
    """
    torch.manual_seed(seed)
    network = MmpNet(
        ANCHORS.num_sizes, ANCHORS.num_aspect_ratios, num_classes=num_classes, box_regression=False, stride=8
    )
    load_weights(network, weights)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    forward = AutocastNet(network, device)
    compiled_forward = cast(nn.Module, torch.compile(forward)) if compiled else forward
    return Trainee(variant, network, compiled_forward, optimizer, [])


def train_epoch(trainee: Trainee, course: Course, epoch: int) -> dict[str, float]:
    """Train and evaluate one epoch; return its entry of the curve."""
    started = time.monotonic()
    enter_training_mode(trainee.network, freeze=0)
    normalize = InputNormalization().to(course.device)
    batches = course.train.batches(batch=course.batch, seed=course.seed, epoch=epoch)
    losses = []
    total = course.train.batches_per_epoch(course.batch)
    for number in progress_bar(range(total), f"{trainee.variant} {epoch + 1}"):
        images_bgr, labels = next(batches)
        draw = torch.Generator().manual_seed(int(generator(course.seed, 1, epoch, number).integers(2**62)))
        images = normalize(images_bgr.to(course.device))
        losses.append(one_step(trainee, images, labels.to(course.device).long(), draw))
    trained = time.monotonic()
    found = evaluate(anchor_detector(trainee.network, course.device), course.val, course.class_names)
    return {
        "epoch": epoch + 1,
        "loss": sum(losses) / len(losses),
        "quasi_iou": found.quasi_iou,
        "train_s": round(trained - started, 1),
        "evaluate_s": round(time.monotonic() - trained, 1),
    }


def one_step(trainee: Trainee, images: Tensor, labels: Tensor, draw: torch.Generator) -> float:
    """Make one update on a batch with the negatives of the variant; return the loss."""
    if trainee.variant == "hard":
        cross_entropy = functional.cross_entropy(trainee.forward(images), labels, reduction="none")
        picked = hard_negatives(cross_entropy, labels, NEG_RATIO).bool()
        return update(trainee.optimizer, cross_entropy[picked].mean())
    neg_ratio = NEG_RATIO if trainee.variant == "random" else None
    return step(
        trainee.forward, nn.CrossEntropyLoss(), trainee.optimizer, images, labels, neg_ratio=neg_ratio, generator=draw
    )


def save(path: Path, trainee: Trainee, settings: dict[str, Any]) -> None:
    """Write everything that the next epoch needs.

    Raises: OutputError if it cannot be written.
    """
    content = {
        "settings": settings,
        "network": trainee.network.state_dict(),
        "optimizer": trainee.optimizer.state_dict(),
        "curve": trainee.curve,
    }
    with atomic_write(path) as partial:
        torch.save(content, partial)


def restore(path: Path, trainee: Trainee, settings: dict[str, Any], *, resume: bool) -> None:
    """Restore a variant from its checkpoint, if it has one and --resume is set."""
    make_folder(path.parent)
    if not is_file(path):
        return
    if not resume:
        raise TrainingError(f"{path}: exists; continue it with --resume, or choose another --run")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        then = content["settings"]
        if then == settings:
            trainee.network.load_state_dict(content["network"])
            trainee.optimizer.load_state_dict(content["optimizer"])
            trainee.curve = list(content["curve"])
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path}: is not a checkpoint of this exercise ({reason}); choose another --run"
        ) from error
    changed = [
        f"{name} was {then.get(name)}, is {value}" for name, value in settings.items() if then.get(name) != value
    ]
    if changed:
        raise TrainingError(f"{path}: cannot be resumed: {'; '.join(changed)}; choose another --run")
