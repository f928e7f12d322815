"""Start a run, or go on with one: read the data, check everything, then train."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import msgspec

from mmpnet.contract.errors import CheckpointError, OutputError, TrainingError
from mmpnet.runtime.command import people
from mmpnet.runtime.dataset import Dataset, read_coco, resolve_split
from mmpnet.runtime.evaluate import require_measurable
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.train.checkpoint import Provenance, load_checkpoint
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.loop import TrainingRun
from mmpnet.train.report import BEST, LAST, TrainingReport
from mmpnet.train.run_report import write_run_report
from mmpnet.train.state import start_state


def start_run(config: TrainConfig, folder: Path) -> None:
    """Train from the first epoch.

    Raises: an MmpnetError child for bad data, weights, device or folder, before the first step.
    """
    train, val = _read_data(config)
    model = config.model(train.class_names)
    _check_measurable(val, model)
    state = start_state(config, model)
    report = TrainingReport(folder, config, model, _provenance(config, train, val), people())
    run = TrainingRun(config, model, train, val, report)
    report.start(first_epoch=0)
    report.save_last(state)  # from here on the run can be resumed
    run.execute(state)
    people().print(f"done: {folder / BEST}; next: mmp-export {folder / BEST}")
    write_run_report(folder, val, device=config.device)


def resume_run(path: Path, *, device: str | None = None, workers: int | None = None) -> None:
    """Go on with an interrupted run: settings from its last.pth, but device and workers where they are given.

    Raises: CheckpointError if there is nothing to resume, TrainingError if its data set has changed since.
    """
    path = path / LAST if is_folder(path) else path
    checkpoint = load_checkpoint(path)
    if checkpoint.progress is None:
        raise CheckpointError(f"{path}: holds weights to deploy, not a run; --resume takes a run folder or its {LAST}")
    config = checkpoint.train
    config = msgspec.structs.replace(
        config,
        device=config.device if device is None else device,
        workers=config.workers if workers is None else workers,
    )
    if checkpoint.progress.epoch >= config.epochs:
        raise TrainingError(f"{path}: all {config.epochs} epochs are done; next: mmp-export {path.parent / BEST}")
    train, val = _read_data(config)
    for now, then in ((train, checkpoint.provenance.train_sha256), (val, checkpoint.provenance.val_sha256)):
        if now is not None and now.sha256 != then:
            raise TrainingError(f"{now.path}: has changed since this run started; restore it, or start a new run")
    _check_measurable(val, checkpoint.model)
    state = start_state(msgspec.structs.replace(config, weights="none"), checkpoint.model)
    state.restore(checkpoint.progress, checkpoint.ema)
    report = TrainingReport(path.parent, config, checkpoint.model, _provenance(config, train, val), people())
    run = TrainingRun(config, checkpoint.model, train, val, report)
    report.start(first_epoch=state.epoch)
    people().print(f"going on in epoch {state.epoch + 1} after {state.batch} batches")
    run.execute(state)
    people().print(f"done: {path.parent / BEST}; next: mmp-export {path.parent / BEST}")
    write_run_report(path.parent, val, device=config.device)


def new_folder(project: Path, name: str | None) -> Path:
    """PROJECT/NAME, which must not hold a run yet; without a name the first free of train, train2, ...

    Raises: OutputError if the named folder exists.
    """
    if name is None:
        number = 1
        while (folder := project / f"train{number if number > 1 else ''}").exists():
            number += 1
        return folder
    folder = project / name
    if is_folder(folder) or is_file(folder):
        raise OutputError(f"{folder}: exists; choose another --name, or go on with it: mmp-train --resume {folder}")
    return folder


def validation_path(data: Path, val: Path | None) -> str | None:
    """The annotation file to watch: the one given, else val.json where the data is a folder, else none."""
    if val is not None:
        return str(resolve_split(val, "val").resolve())
    return str(resolve_split(data, "val").resolve()) if is_folder(data) else None


def _read_data(config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    train = read_coco(resolve_split(Path(config.data), "train"))
    val = None if config.val is None else read_coco(Path(config.val))
    empty = sum(1 for picture in train.pictures if not len(picture.boxes_xyxy))
    people().print(
        f"{train.name}: {len(train.pictures)} pictures, {train.num_boxes} boxes, {empty} pictures without any; "
        + (f"{val.name}: {len(val.pictures)} pictures" if val is not None else "no validation set: best is last"),
    )
    if not train.num_boxes:
        raise TrainingError(f"{train.path}: has no boxes to learn from")
    return train, val


def _check_measurable(val: Dataset | None, model: ModelConfig) -> None:
    """Find out now, not after the first epochs, whether the validation set can be evaluated."""
    if val is not None:
        require_measurable(val, model.class_names)


def _provenance(config: TrainConfig, train: Dataset, val: Dataset | None) -> Provenance:
    return Provenance(
        mmpnet_version=version("mmpnet"),
        git_commit=_git_commit(),
        train_name=train.name,
        train_sha256=train.sha256,
        train_images=len(train.pictures),
        val_name=None if val is None else val.name,
        val_sha256=None if val is None else val.sha256,
        val_images=0 if val is None else len(val.pictures),
        epochs_done=0,
        seed=config.seed,
    )


def _git_commit() -> str | None:
    """The commit of this source tree; None for an installed wheel, or without git."""
    here = Path(__file__).parent
    root = _git(here, "rev-parse", "--show-toplevel")
    if root is None or not here.is_relative_to(Path(root) / "train"):
        return None  # a wheel inside somebody's own repository has that repository's commit
    return _git(here, "describe", "--always", "--dirty", "--abbrev=12")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
