"""The origin of the weights of a run: names and hashes of the data, seed, commit of this source tree."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from mmpnet.datasets.types import Dataset
from mmpnet.train.artifacts.checkpoint import Provenance
from mmpnet.train.artifacts.config import TrainConfig


def provenance_of(
    config: TrainConfig,
    train: Dataset,
    val: Dataset | None,
    *,
    teacher_sha256: str | None = None,
    feature_teacher_sha256: str | None = None,
) -> Provenance:
    """Return what a run's checkpoints say of its data, its teachers and its code; epochs and accuracy are added
    later."""
    return Provenance(
        mmpnet_version=version("mmpnet"),
        git_commit=git_commit(),
        train_name=train.name,
        train_sha256=train.sha256,
        train_images=len(train.images),
        val_name=None if val is None else val.name,
        val_sha256=None if val is None else val.sha256,
        val_images=0 if val is None else len(val.images),
        epochs_done=0,
        seed=config.run.seed,
        teacher_sha256=teacher_sha256,
        feature_teacher_sha256=feature_teacher_sha256,
    )


def git_commit() -> str | None:
    """Return the commit of this source tree; None for an installed wheel, or without git."""
    here = Path(__file__).parent
    root = _git(here, "rev-parse", "--show-toplevel")
    if root is None or not here.is_relative_to(Path(root) / "train"):
        return None  # git would give the commit of the repository around an installed wheel
    return _git(here, "describe", "--always", "--dirty", "--abbrev=12")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
