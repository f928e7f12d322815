"""Start a run, or go on with one: read the data, check everything, then train."""

from pathlib import Path

import msgspec
from rich.console import Console

from mmpnet.contract.errors import CheckpointError, OutputError, TrainingError
from mmpnet.runtime.command import people
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.train.checkpoint import load_checkpoint
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.distributed import World, device_name, is_first_process, joined_world
from mmpnet.train.loop import TrainingRun
from mmpnet.train.provenance import provenance_of
from mmpnet.train.report import BEST, LAST, TrainingReport
from mmpnet.train.run_report import write_run_report
from mmpnet.train.state import TrainingState, start_state
from mmpnet.train.teacher import open_teacher
from mmpnet.train.training_data import check_measurable, let_teach, read_all, stored_pictures, taught, with_anchors


def start_run(config: TrainConfig, folder: Path) -> None:
    """Train from the first epoch; under torchrun, as one of several processes, in the first one's folder.

    Raises: an MmpnetError child for bad data, weights, device, teacher or folder, before the first step.
    """
    with joined_world() as world:
        folder = world.from_first(folder)
        config = msgspec.structs.replace(config, device=device_name(config.device, world))
        train, val = read_all(config, _console(world))
        config = with_anchors(config, train, _console(world))
        model = config.model(train.class_names)
        check_measurable(val, model)
        teacher = None if config.teacher is None else open_teacher(Path(config.teacher), model.class_names)
        state = start_state(config, model, say=_console(world).print)
        report = _report(folder, config, model, train, val, world)
        report.start(first_epoch=0)
        if teacher is not None and world.is_first:
            let_teach(teacher, config, train, folder)
        report.save_last(state)  # from here on the run can be resumed
        world.wait()
        _execute(config, train, val, report, state, world)


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
        raise TrainingError(f"{path}: all {config.epochs} epochs are done; next: mmp-export {path.parent / BEST}")
    with joined_world() as world:
        config = msgspec.structs.replace(
            config,
            device=device_name(config.device if device is None else device, world),
            workers=config.workers if workers is None else workers,
        )
        train, val = read_all(config, _console(world))
        for now, then in ((train, checkpoint.provenance.train_sha256), (val, checkpoint.provenance.val_sha256)):
            if now is not None and now.sha256 != then:
                raise TrainingError(f"{now.name}: has changed since this run started; restore it, or start a new run")
        check_measurable(val, checkpoint.model)
        state = start_state(msgspec.structs.replace(config, weights="none"), checkpoint.model)
        state.restore(checkpoint.progress, checkpoint.ema)
        report = _report(path.parent, config, checkpoint.model, train, val, world)
        report.start(first_epoch=state.epoch)
        _console(world).print(f"going on in epoch {state.epoch + 1} after {state.batch} batches")
        world.wait()
        _execute(config, train, val, report, state, world)


def _console(world: World) -> Console:
    """Where to talk to people: one process does."""
    return people() if world.is_first else Console(quiet=True)


def _report(
    folder: Path, config: TrainConfig, model: ModelConfig, train: Dataset, val: Dataset | None, world: World
) -> TrainingReport:
    # What one of several processes was given as its GPU is no setting of the run.
    plain = config if world.is_alone else msgspec.structs.replace(config, device="auto")
    provenance = provenance_of(config, train, val)
    return TrainingReport(folder, plain, model, provenance, _console(world), writes=world.is_first)


def _execute(
    config: TrainConfig,
    train: Dataset,
    val: Dataset | None,
    report: TrainingReport,
    state: TrainingState,
    world: World,
) -> None:
    if config.teacher is not None:
        train = taught(config, train, report.folder, _console(world))
    if not train.num_boxes:
        raise TrainingError(f"{train.name}: has no boxes to learn from")
    stored = stored_pictures(config, train, report.folder, world, _console(world))
    try:
        TrainingRun(config, config.model(train.class_names), train, stored, val, report, world).execute(state)
    finally:
        stored.close()
    _console(world).print(f"done: {report.folder / BEST}; next: mmp-export {report.folder / BEST}")
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
