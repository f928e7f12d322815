"""Start a run, or go on with one: read the data, check everything, then train."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from mmpnet.console.command import console
from mmpnet.contract.errors import CheckpointError, OutputError, TrainingError
from mmpnet.datasets.types import Dataset
from mmpnet.system.files import check_folder, is_file, is_folder
from mmpnet.train.artifacts.checkpoint import Checkpoint, damaged, load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.artifacts.provenance import provenance_of
from mmpnet.train.distillation.pseudo_labels import save_teacher_labels
from mmpnet.train.engine.distributed import World, device_name, is_first_process, joined_world
from mmpnet.train.engine.run_writer import BEST, LAST, TrainingReport
from mmpnet.train.engine.state import TrainingState, start_state
from mmpnet.train.engine.stopping import terminable
from mmpnet.train.engine.trainer import TrainingRun
from mmpnet.train.run.html_report import REPORT, write_run_report
from mmpnet.train.run.prepare import (
    TEACHER,
    check_measurable,
    check_trainable,
    read_all,
    stored_pictures,
    taught,
    teaching,
    with_anchors,
)


def start_run(config: TrainConfig, folder: Path) -> None:
    """Train from the first epoch; under torchrun, as one of several processes, in the first one's folder.

    Raises: an MmpnetError child for bad data, weights, device, teacher or folder, before the first step.
    """
    with joined_world() as world:
        console = _console(world)
        folder = world.from_first(folder)
        train, val = read_all(config, console)
        config = with_anchors(config, train, console)
        model = config.model(train.class_names)
        check_measurable(val, model)
        check_trainable(config, train, world)
        check_folder(folder.parent, option=f"--project {folder.parent}")
        teach = None if config.teacher is None else teaching(config, train, model.class_names)
        state = start_state(_placed(config, world), model, train.images, say=console.print)
        labels = teach() if teach is not None and world.is_first else None
        report = TrainingReport(
            folder, config, model, provenance_of(config, train, val), console, writes=world.is_first
        )
        with _removed_on_failure(folder, world):
            report.start(first_epoch=0)
            if labels is not None:
                save_teacher_labels(folder / TEACHER, labels)
            report.save_last(state)  # from here on the run can be resumed
        world.wait()
        _execute(_placed(config, world), train, val, report, state, world)


def resume_run(path: Path, *, device: str | None = None, workers: int | None = None) -> None:
    """Go on with an interrupted run: settings from its last.pth, but device and workers where they are given.

    Raises: CheckpointError if there is nothing to resume, TrainingError if its data set has changed since.
    """
    path = path / LAST if is_folder(path) else path
    checkpoint = load_checkpoint(path)
    if checkpoint.progress is None:
        raise CheckpointError(f"{path}: holds weights to deploy, not a run; --resume takes a run folder or its {LAST}")
    config = checkpoint.train
    if checkpoint.progress.epoch >= config.epochs:
        if is_first_process() and not is_file(path.parent / REPORT):
            train, val = read_all(config, console())
            _require_unchanged(train, val, checkpoint)
            write_run_report(path.parent, val, device=config.device if device is None else device)
            return
        raise TrainingError(f"{path}: all {config.epochs} epochs are done; next: mmp-export {path.parent / BEST}")
    config = msgspec.structs.replace(
        config,
        device=config.device if device is None else device,
        workers=config.workers if workers is None else workers,
    )
    with joined_world() as world:
        messages = _console(world)
        train, val = read_all(config, messages)
        _require_unchanged(train, val, checkpoint)
        check_measurable(val, checkpoint.model)
        check_trainable(config, train, world)
        state = start_state(msgspec.structs.replace(_placed(config, world), weights="none"), checkpoint.model)
        try:
            state.restore(checkpoint.progress, checkpoint.ema)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise damaged(path, error) from error
        # The teacher was asked when the run started: what lies at its path now need not be it.
        provenance = msgspec.structs.replace(
            provenance_of(config, train, val), teacher_sha256=checkpoint.provenance.teacher_sha256
        )
        report = TrainingReport(path.parent, config, checkpoint.model, provenance, messages, writes=world.is_first)
        report.start(first_epoch=state.epoch)
        messages.print(f"going on in epoch {state.epoch + 1} after {state.batch} batches")
        world.wait()
        _execute(_placed(config, world), train, val, report, state, world)


def _require_unchanged(train: Dataset, val: Dataset | None, checkpoint: Checkpoint) -> None:
    for now, then in ((train, checkpoint.provenance.train_sha256), (val, checkpoint.provenance.val_sha256)):
        if now is not None and now.sha256 != then:
            raise TrainingError(f"{now.name}: has changed since this run started; restore it, or start a new run")


@contextmanager
def _removed_on_failure(folder: Path, world: World) -> Iterator[None]:
    """What was begun of a new run's folder is in the way of the next one of that name, and nothing to go on with. A
    folder that was there before may hold something else, and stays."""
    is_new = not folder.exists()
    try:
        yield
    except BaseException:
        if world.is_first and is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _console(world: World) -> Console:
    """Where to talk to people: one process does."""
    return console() if world.is_first else Console(quiet=True)


def _placed(config: TrainConfig, world: World) -> TrainConfig:
    """The settings with this process's own device, which is no setting of the run."""
    return msgspec.structs.replace(config, device=device_name(config.device, world))


def _execute(
    config: TrainConfig,
    train: Dataset,
    val: Dataset | None,
    report: TrainingReport,
    state: TrainingState,
    world: World,
) -> None:
    console = _console(world)
    if config.teacher is not None:
        train = taught(config, train, report.folder, console)
    with terminable():
        with stored_pictures(config, train, report.folder, world, console) as stored:
            TrainingRun(config, config.model(train.class_names), train, stored, val, report, world).execute(state)
        console.print(f"done: {report.folder / BEST}; next: mmp-export {report.folder / BEST}")
        if world.is_first:
            write_run_report(report.folder, val, device=config.device)


def new_folder(project: Path, name: str | None) -> Path:
    """PROJECT/NAME, which must not hold a run yet; without a name the first free of train, train2, ...

    Of several processes the first one chooses; what the others get here is not used.

    Raises: OutputError if the named folder exists.
    """
    if not is_first_process():
        return project
    if name is None:
        number = 1
        while (folder := project / f"train{number if number > 1 else ''}").exists():
            number += 1
        return folder
    folder = project / name
    if is_folder(folder) or is_file(folder):
        raise OutputError(f"{folder}: exists; choose another --name, or go on with it: mmp-train --resume {folder}")
    return folder
