"""Start or resume a run: read the data, check everything, then train."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import msgspec

from mmpnet.contract.errors import CheckpointError, OutputError, TrainingError
from mmpnet.contract.option_fields import option_fields
from mmpnet.datasets.types import Dataset
from mmpnet.system.claims import claimed_folder, is_claimed
from mmpnet.system.files import check_folder, is_file, is_folder
from mmpnet.system.signals import interrupt_on_sigterm
from mmpnet.train.artifacts.checkpoint import Checkpoint, Progress, damaged, load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.artifacts.options import SECTIONS
from mmpnet.train.artifacts.provenance import provenance_of
from mmpnet.train.distillation.feature_maps import FeatureTeacher
from mmpnet.train.distillation.pseudo_labels import save_teacher_labels
from mmpnet.train.engine.device import limit_threads, resolve_device
from mmpnet.train.engine.distributed import World, device_name, is_first_process, joined_world
from mmpnet.train.engine.run_writer import BEST, LAST, RunWriter
from mmpnet.train.engine.state import TrainingState, start_state
from mmpnet.train.engine.trainer import RunImages, Trainer
from mmpnet.train.network.weights import check_source
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.html_report import REPORT, write_run_report
from mmpnet.train.run.prepare import (
    TEACHER,
    check_measurable,
    check_readable,
    check_trainable,
    opened_feature_teacher,
    read_all,
    stored_images,
    taught,
    teaching,
    validation_paths,
    with_anchors,
    with_shipped_shape,
)


def start_run(config: TrainConfig, folder: Path, *, callbacks: RunCallbacks | None = None) -> None:
    """Train from the first epoch; under torchrun, as one of several processes, in the first one's folder.

    Raises: an MmpnetError child for bad data, weights, device, teacher or folder, before the first step; OutputError if
    the folder has a run already.
    """
    limit_threads()
    with joined_world() as world:
        callbacks = _callbacks_of(world, callbacks)
        folder = world.from_first(folder)
        # What is checked in no time comes before the data, which may take minutes.
        check_source(config.model.weights)
        resolve_device(_placed(config, world).run.device)
        check_folder(folder.parent, option=f"--project {folder.parent}")
        with _claimed(folder, world):
            if world.is_first and is_file(folder / LAST):
                raise OutputError(
                    f"{folder}: has a run; choose another --name, or resume it: mmp-train --resume {folder}"
                )
            _start(config, folder, world, callbacks)


def _start(config: TrainConfig, folder: Path, world: World, callbacks: RunCallbacks) -> None:
    features = opened_feature_teacher(config, world)
    train, val = read_all(config, callbacks)
    config = with_anchors(with_shipped_shape(config, callbacks), train, callbacks)
    model = config.model_config(train.class_names)
    check_measurable(val, model)
    check_trainable(config, train, world)
    if world.is_first:
        check_readable(val, callbacks)
    teach = teaching(config, train, callbacks) if config.distillation.teachers else None
    state = start_state(
        _placed(config, world),
        model,
        train.images,
        feature_channels=None if features is None else features.channels,
        notice=callbacks.notice,
    )
    labels = teach() if teach is not None and world.is_first else None
    taught_by = None if labels is None else labels.teacher_sha256
    maps_from = None if features is None else features.sha256
    provenance = provenance_of(config, train, val, teacher_sha256=taught_by, feature_teacher_sha256=maps_from)
    writer = RunWriter(folder, config, model, provenance, writes=world.is_first)
    with _removed_on_failure(folder, world):
        writer.start(first_epoch=0)
        if labels is not None:
            save_teacher_labels(folder / TEACHER, labels)
        writer.save_last(state)  # from here on the run can be resumed
    world.wait()
    _execute(_placed(config, world), train, val, writer, state, world, callbacks, features)


def resume_run(
    path: Path,
    *,
    device: str | None = None,
    workers: int | None = None,
    data: Sequence[str] = (),
    val_data: Sequence[str] = (),
    same_as: TrainConfig | None = None,
    callbacks: RunCallbacks | None = None,
) -> None:
    """Resume an interrupted run with the options of its last.pth; device and workers replace the run's if given.

    data, val_data: where the data of the run are now, if they were moved; their content must be the same. same_as:
    options that the run is expected to have, but for device, workers and the place of the data.

    Raises: CheckpointError if there is nothing to resume, TrainingError if its data set has changed since, or it has
    other options than `same_as`; OutputError if another run writes to its folder.
    """
    limit_threads()
    path = path / LAST if is_folder(path) else path
    _resumable(path, same_as)
    with joined_world() as world, _claimed(path.parent, world):
        world.wait()
        # Read again: until now another run may have written it.
        checkpoint, progress = _resumable(path, same_as)
        config = _with_moved_data(_moved(checkpoint.train, device, workers), data, val_data)
        callbacks = _callbacks_of(world, callbacks)
        if progress.epoch >= config.schedule.epochs:
            if not world.is_first or is_file(path.parent / REPORT):
                raise TrainingError(
                    f"{path}: all {config.schedule.epochs} epochs are done; next: mmp-export {path.parent / BEST}"
                )
            _write_missing_report(path.parent, config, checkpoint, callbacks)
            return
        features = opened_feature_teacher(config, world)
        _require_same_feature_teacher(features, checkpoint)
        train, val = read_all(config, callbacks)
        _require_unchanged(train, val, checkpoint)
        check_measurable(val, checkpoint.model)
        check_trainable(config, train, world)
        if world.is_first:
            check_readable(val, callbacks)
        state = _restored(_placed(config, world), checkpoint, progress, path, features)
        # The teachers labeled the images when the run started: their files may have changed since.
        was = checkpoint.provenance
        provenance = provenance_of(
            config,
            train,
            val,
            teacher_sha256=was.teacher_sha256,
            feature_teacher_sha256=was.feature_teacher_sha256,
        )
        writer = RunWriter(path.parent, config, checkpoint.model, provenance, writes=world.is_first)
        writer.start(first_epoch=state.epoch)
        callbacks.notice(f"resuming in epoch {state.epoch + 1} after {state.batch} batches")
        world.wait()
        _execute(_placed(config, world), train, val, writer, state, world, callbacks, features)


def _resumable(path: Path, same_as: TrainConfig | None) -> tuple[Checkpoint, Progress]:
    """Return what a run left in last.pth. Raises: as `resume_run` for a file that cannot be resumed."""
    checkpoint = load_checkpoint(path)
    if same_as is not None:
        _require_same_options(checkpoint.train, same_as, path.parent)
    if checkpoint.progress is None:
        raise CheckpointError(f"{path}: holds weights to deploy, not a run; --resume takes a run folder or its {LAST}")
    return checkpoint, checkpoint.progress


def _moved(config: TrainConfig, device: str | None, workers: int | None) -> TrainConfig:
    """Return the options with another device or number of loader processes, where they are given."""
    run, loading = config.run, config.loading
    if device is not None:
        run = msgspec.structs.replace(run, device=device)
    if workers is not None:
        loading = msgspec.structs.replace(loading, workers=workers)
    return msgspec.structs.replace(config, run=run, loading=loading)


def _require_same_options(then: TrainConfig, now: TrainConfig, folder: Path) -> None:
    labels = {field.name: field.label for section in SECTIONS.values() for field in option_fields(section)}
    was, wanted = then.options(), now.options()
    free = {"train", "val", "device", "workers"}
    # These were chosen when the run started.
    free |= {"sizes_px", "aspect_ratios"} if now.model.anchors == "auto" else set()
    free |= {"separate_towers", "tower_depth", "kernel_size", "channels"} if now.model.weights == "default" else set()
    changed = [name for name in wanted if name not in free and was[name] != wanted[name]]
    if changed:
        stored, given = (", ".join(f"{labels[name]} {options[name]}" for name in changed) for options in (was, wanted))
        raise TrainingError(
            f"{folder}: was started with {stored}, but --continue comes with {given}; give the options of its start, "
            "choose another --name, or go on with its own options by --resume"
        )


def _with_moved_data(config: TrainConfig, data: Sequence[str], val: Sequence[str]) -> TrainConfig:
    """Return the options with other paths of the data, where they are given."""
    was = config.data
    train, measured = tuple(data) or was.train, tuple(val) or was.val
    if data and was.val and not val:
        # As when the run started: the validation data are the val splits, unless they were given.
        measured = validation_paths(train, ()) or was.val
    return msgspec.structs.replace(config, data=msgspec.structs.replace(was, train=train, val=measured))


def _write_missing_report(folder: Path, config: TrainConfig, checkpoint: Checkpoint, callbacks: RunCallbacks) -> None:
    train, val = read_all(config, callbacks)
    _require_unchanged(train, val, checkpoint)
    write_run_report(folder, val, device=config.run.device, progress=callbacks.progress)


def _restored(
    config: TrainConfig, checkpoint: Checkpoint, progress: Progress, path: Path, features: FeatureTeacher | None
) -> TrainingState:
    """Return the state that a run had when it wrote last.pth.

    Raises: CheckpointError if the tensors do not fit the network or the optimizer.
    """
    channels = None if features is None else features.channels
    state = start_state(config, checkpoint.model, weights="none", feature_channels=channels)
    try:
        state.restore(progress, checkpoint.ema)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise damaged(path, error) from error
    return state


def _require_unchanged(train: Dataset, val: Dataset | None, checkpoint: Checkpoint) -> None:
    for now, then in ((train, checkpoint.provenance.train_sha256), (val, checkpoint.provenance.val_sha256)):
        if now is not None and now.sha256 != then:
            raise TrainingError(f"{now.name}: has changed since this run started; restore it, or start a new run")


def _require_same_feature_teacher(features: FeatureTeacher | None, checkpoint: Checkpoint) -> None:
    if features is not None and features.sha256 != checkpoint.provenance.feature_teacher_sha256:
        raise TrainingError(
            f"feature teacher {checkpoint.train.distillation.feature_teacher}: has changed since this run started; "
            "restore it, or start a new run"
        )


def _claimed(folder: Path, world: World) -> AbstractContextManager[None]:
    """Hold the name of a run's folder in the first process: two runs would overwrite the files of each other.

    Raises: OutputError if another run holds it.
    """
    return claimed_folder(folder) if world.is_first else nullcontext()


@contextmanager
def _removed_on_failure(folder: Path, world: World) -> Iterator[None]:
    """Remove the folder of a new run that did not start: it cannot be resumed, and the next run may want its name.

    A folder that existed before may hold other files, and stays.
    """
    is_new = not folder.exists()
    try:
        yield
    except BaseException:
        if world.is_first and is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _callbacks_of(world: World, callbacks: RunCallbacks | None) -> RunCallbacks:
    """Return the callbacks of the command in the first process; the other processes report nothing."""
    return callbacks if callbacks is not None and world.is_first else RunCallbacks()


def _placed(config: TrainConfig, world: World) -> TrainConfig:
    """Return the options with the device of this process, which differs from process to process."""
    return _moved(config, device_name(config.run.device, world), None)


def _execute(
    config: TrainConfig,
    train: Dataset,
    val: Dataset | None,
    writer: RunWriter,
    state: TrainingState,
    world: World,
    callbacks: RunCallbacks,
    features: FeatureTeacher | None,
) -> None:
    if config.distillation.teachers:
        train = taught(config, train, writer.folder, callbacks)
    with interrupt_on_sigterm():
        with stored_images(config, train, writer.folder, world, callbacks) as stored:
            model = config.model_config(train.class_names)
            images = RunImages(train, stored, val)
            trainer = Trainer(
                config, model, images, writer, world=world, callbacks=callbacks.training, feature_teacher=features
            )
            trainer.train(state)
        callbacks.notice(f"done: {writer.folder / BEST}; next: mmp-export {writer.folder / BEST}")
        if world.is_first:
            write_run_report(writer.folder, val, device=config.run.device, progress=callbacks.progress)


def new_folder(project: Path, name: str | None) -> Path:
    """Return the folder of a new run: PROJECT/NAME, or without a name the first free one of train, train2, ...

    A name is free if no such folder exists, and no other run is about to make it.

    Of several processes only the first one chooses; the folder that the others get here is not used.

    Raises: OutputError if the named folder exists.
    """
    if not is_first_process():
        return project
    if name is None:
        number = 1
        while (folder := project / f"train{number if number > 1 else ''}").exists() or is_claimed(folder):
            number += 1
        return folder
    folder = project / name
    if is_folder(folder) or is_file(folder):
        raise OutputError(f"{folder}: exists; choose another --name, or resume it: mmp-train --resume {folder}")
    return folder
