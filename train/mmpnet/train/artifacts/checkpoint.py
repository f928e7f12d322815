"""Checkpoints: tensors and plain values only, so that `torch.load(weights_only=True)` opens them."""

import errno
import pickle
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from mmpnet.contract.errors import CheckpointError, first_line
from mmpnet.system.files import atomic_write, file_sha256, is_file
from mmpnet.train.artifacts.config import SCHEMA, ModelConfig, TrainConfig, from_plain, options_of_schema
from mmpnet.train.model import MmpNet

FORMAT = "mmpnet-checkpoint"
_ZIP_START = b"PK\x03\x04"
"""First bytes of a file of torch.save."""


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from, and their accuracy when they were written."""

    mmpnet_version: str
    git_commit: str | None
    train_name: str
    train_sha256: str
    train_images: int
    val_name: str | None
    val_sha256: str | None
    val_images: int
    epochs_done: int
    seed: int
    evaluation: dict[str, float | int | None] | None = None
    teacher_sha256: str | None = None
    feature_teacher_sha256: str | None = None


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run needs to resume in addition to the deployable weights, and which epoch and batch it has reached.

    feature_loss: the weights with which maps are compared, of a run with a feature teacher.
    """

    epoch: int
    batch: int
    best: float
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    loss_sums: tuple[float, float]
    feature_loss: dict[str, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a file: `ema` are the weights to deploy; only last.pth has `progress`."""

    model: ModelConfig
    train: TrainConfig
    provenance: Provenance
    ema: dict[str, Tensor]
    progress: Progress | None

    def network(self) -> MmpNet:
        """Return the deployable network, in evaluation mode on the CPU."""
        network = self.model.build()
        network.load_state_dict(self.ema)
        return network.eval()

    def model_at(self, input_hw: tuple[int, int]) -> ModelConfig:
        """Return the same network for images of another size."""
        return msgspec.structs.replace(self.model, input_hw=input_hw)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a temporary file, then rename it, so that a reader never sees half a file.

    Raises: OutputError if the folder cannot be written.
    """
    progress = checkpoint.progress
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "model": msgspec.to_builtins(checkpoint.model),
        "train": msgspec.to_builtins(checkpoint.train),
        "provenance": msgspec.to_builtins(checkpoint.provenance),
        "ema": checkpoint.ema,
        "progress": None
        if progress is None
        else {
            "epoch": progress.epoch,
            "batch": progress.batch,
            "best": progress.best,
            "weights": progress.weights,
            "optimizer": progress.optimizer,
            "loss_sums": list(progress.loss_sums),
            "feature_loss": progress.feature_loss,
        },
    }
    with atomic_write(path) as partial:
        try:
            torch.save(_on_cpu(content), partial)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError(errno.ENOSPC, "torch could not write all of it; is the disk full?") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that mmp-train wrote.

    Raises: CheckpointError if the file is missing, damaged, not a checkpoint of ours, or of another schema.
    """
    content = _load_dict(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: is a torch file but not an mmpnet checkpoint; expected last.pth or best.pth from mmp-train "
            "(course checkpoints are not supported, see docs/adr/0004)"
        )
    schema = content.get("schema")
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise CheckpointError(f"{path}: checkpoint schema {schema}, expected 1 to {SCHEMA}; train it again")
    try:
        progress = content["progress"]
        train = options_of_schema(content["train"], schema)
        checkpoint = Checkpoint(
            model=from_plain(content["model"], ModelConfig, path=path),
            train=from_plain(train, TrainConfig, path=path),
            provenance=from_plain(content["provenance"], Provenance, path=path),
            ema=content["ema"],
            progress=None if progress is None else from_plain(progress, Progress, path=path),
        )
        checkpoint.network()
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise damaged(path, error) from error
    return checkpoint


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error for tensors of a checkpoint that do not fit its network or its optimizer."""
    return CheckpointError(f"{path}: checkpoint is damaged ({first_line(error, most=160)})")


def sha256_of(path: Path) -> str:
    """Return the hash of a file's bytes, as hex."""
    return file_sha256(path)


def _on_cpu(value: Any) -> Any:
    """Return the content with all tensors on the CPU, so that a machine without a GPU can open it."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_cpu(item) for item in value]
    return value


def load_tensors(path: Path, *, expected: str) -> Any:
    """Read a torch file.

    Raises: CheckpointError that says what was found and what was expected.
    """
    if is_file(path) and zipfile.is_zipfile(path) and not _is_whole(path):
        # torch reads tensors without looking at their checksums.
        raise CheckpointError(f"{path}: is damaged (a checksum in it does not fit); expected {expected}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # warnings of torch would appear beside the one line
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: {_what_is_wrong(path, error)}; expected {expected}") from error


def _what_is_wrong(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    with path.open("rb") as file:
        start = file.read(len(_ZIP_START))
    if not start:
        return "is empty"
    if not zipfile.is_zipfile(path):
        return "is cut short" if start == _ZIP_START else "is not a file of torch.save"
    if isinstance(error, pickle.UnpicklingError) and _is_whole(path):
        return "holds Python objects beside tensors, which could run code and are not opened"
    return f"is damaged ({type(error).__name__})"


def _is_whole(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as parts:
            return parts.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        return False


def _load_dict(path: Path) -> dict[str, Any]:
    if not is_file(path):
        raise CheckpointError(f"{path}: no such file; expected last.pth or best.pth from mmp-train")
    content = load_tensors(path, expected="last.pth or best.pth from mmp-train")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected an mmpnet checkpoint")
    return content
