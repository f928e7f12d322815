"""What a report is made of; light, so that whoever has it need not load what draws it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mmpnet.contract.metadata import ModelMetadata
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.curves import Curve
from mmpnet.evaluation.evaluate import Evaluation

Facts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about: its title, what is known of the model, and the settings it was trained with."""

    title: str
    facts: Facts
    settings: Facts = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """A dataset, what was measured on it, and by which protocol."""

    dataset: Dataset
    evaluation: Evaluation
    protocol: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: x, y (N,), NaN where it was not measured."""

    name: str
    x: Curve
    y: Curve


@dataclass(frozen=True, slots=True)
class History:
    """A training run, epoch by epoch."""

    losses: tuple[Line, ...]
    accuracies: tuple[Line, ...]


def exported_subject(path: Path, metadata: ModelMetadata) -> Subject:
    """An exported file, by what it says of itself."""
    training = metadata.training
    height, width = metadata.input.size_hw
    facts = (
        ("model", f"{path.name}, {height}x{width} px"),
        ("classes", ", ".join(metadata.class_names[1:])),
        ("checkpoint sha256", metadata.checkpoint_sha256),
        ("trained on", f"{training.train_name}, {training.train_images} images, sha256 {training.train_sha256}"),
        ("training", f"{training.epochs} epochs, seed {training.seed}"),
        ("source tree", f"mmpnet {training.mmpnet_version}, commit {training.git_commit or 'unknown'}"),
        ("license of the weights", metadata.licences.weights),
    )
    return Subject(path.name, facts)
