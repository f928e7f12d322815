"""The content of a report as plain values, so that callers need not import matplotlib and jinja2."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.text import counted
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.curves import Curve
from mmpnet.evaluation.evaluate import Evaluation

Facts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in the order of display."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that a report describes: title, facts about the model, and training settings."""

    title: str
    facts: Facts
    settings: Facts = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """A dataset, its evaluation, and the protocol."""

    dataset: Dataset
    evaluation: Evaluation
    protocol: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: x, y (N,), with NaN for values that were not measured."""

    name: str
    x: Curve
    y: Curve


@dataclass(frozen=True, slots=True)
class History:
    """A training run, epoch by epoch."""

    losses: tuple[Line, ...]
    accuracies: tuple[Line, ...]


def exported_subject(path: Path, metadata: ModelMetadata) -> Subject:
    """Describe an exported file by its own metadata."""
    training = metadata.training
    height, width = metadata.input.size_hw
    facts = (
        ("model", f"{path.name}, {height}x{width} px"),
        ("classes", ", ".join(metadata.class_names[1:])),
        ("checkpoint sha256", metadata.checkpoint_sha256),
        (
            "trained on",
            f"{training.train_name}, {counted(training.train_images, 'image')}, sha256 {training.train_sha256}",
        ),
        ("training", f"{training.epochs} epochs, seed {training.seed}"),
        ("source tree", f"mmpnet {training.mmpnet_version}, commit {training.git_commit or 'unknown'}"),
        ("license of the weights", metadata.licences.weights),
    )
    return Subject(path.name, facts)
