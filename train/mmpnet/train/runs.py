"""Start a run, or go on with one: read the data, check everything, then train."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import CheckpointError, OutputError, TrainingError
from mmpnet.runtime.command import people
from mmpnet.runtime.datasets.check import read_data, show_scan
from mmpnet.runtime.datasets.recognise import has_split
from mmpnet.runtime.datasets.scan import scan
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.runtime.evaluate import require_measurable
from mmpnet.runtime.paths import is_file, is_folder
from mmpnet.train.anchor_report import coverage, coverage_table, input_boxes, suggested_anchors
from mmpnet.train.cache import CachedPictures, StoredPictures, fits
from mmpnet.train.checkpoint import Provenance, load_checkpoint, sha256_of
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.distributed import World, device_name, is_first_process, joined_world
from mmpnet.train.loop import TrainingRun
from mmpnet.train.pseudo_labels import (
    ask_teacher,
    load_teacher_labels,
    save_teacher_labels,
    unlabelled_pictures,
    with_teacher_boxes,
)
from mmpnet.train.report import BEST, LAST, TrainingReport
from mmpnet.train.run_report import write_run_report
from mmpnet.train.state import TrainingState, start_state
from mmpnet.train.teacher import open_teacher

TEACHER = "teacher.json"


def start_run(config: TrainConfig, folder: Path) -> None:
    """Train from the first epoch; under torchrun, as one of several processes, in the first one's folder.

    Raises: an MmpnetError child for bad data, weights, device, teacher or folder, before the first step.
    """
    with joined_world() as world:
        folder = world.from_first(folder)
        config = msgspec.structs.replace(config, device=device_name(config.device, world))
        train, val = _read_all(config, _console(world))
        config = _with_anchors(config, train, _console(world))
        model = config.model(train.class_names)
        _check_measurable(val, model)
        teacher = None if config.teacher is None else open_teacher(Path(config.teacher), model.class_names)
        state = start_state(config, model, say=_console(world).print)
        report = _report(folder, config, model, train, val, world)
        report.start(first_epoch=0)
        if teacher is not None and config.teacher is not None and world.is_first:
            shown = partial(track, description="asking the teacher", console=people())
            labels = ask_teacher(teacher, sha256_of(Path(config.teacher)), train.pictures, progress=shown)
            save_teacher_labels(folder / TEACHER, labels)
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
        train, val = _read_all(config, _console(world))
        for now, then in ((train, checkpoint.provenance.train_sha256), (val, checkpoint.provenance.val_sha256)):
            if now is not None and now.sha256 != then:
                raise TrainingError(f"{now.name}: has changed since this run started; restore it, or start a new run")
        _check_measurable(val, checkpoint.model)
        state = start_state(msgspec.structs.replace(config, weights="none"), checkpoint.model)
        state.restore(checkpoint.progress, checkpoint.ema)
        report = _report(path.parent, config, checkpoint.model, train, val, world)
        report.start(first_epoch=state.epoch)
        _console(world).print(f"going on in epoch {state.epoch + 1} after {state.batch} batches")
        world.wait()
        _execute(config, train, val, report, state, world)


def _with_anchors(config: TrainConfig, train: Dataset, console: Console) -> TrainConfig:
    """The anchors to learn with, those the data suggest where that was asked for; people see how well they cover it."""
    boxes = input_boxes(train.pictures, config.model(train.class_names).letterbox)
    given = AnchorSpec(config.sizes_px, config.aspect_ratios, config.stride)
    chosen = given
    if config.anchors == "auto":
        chosen = suggested_anchors(
            boxes, num_sizes=given.num_sizes, num_aspect_ratios=given.num_aspect_ratios, stride=given.stride
        )
        console.print(f"anchors from the data: sizes {chosen.sizes_px} px, aspect ratios {chosen.aspect_ratios}")
    console.print(coverage_table("anchors on these boxes", coverage(boxes, chosen, config.imgsz)))
    return msgspec.structs.replace(config, sizes_px=chosen.sizes_px, aspect_ratios=chosen.aspect_ratios)


def _console(world: World) -> Console:
    """Where to talk to people: one process does."""
    return people() if world.is_first else Console(quiet=True)


def _report(
    folder: Path, config: TrainConfig, model: ModelConfig, train: Dataset, val: Dataset | None, world: World
) -> TrainingReport:
    # What one of several processes was given as its GPU is no setting of the run.
    plain = config if world.is_alone else msgspec.structs.replace(config, device="auto")
    provenance = _provenance(config, train, val)
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
        labels = load_teacher_labels(report.folder / TEACHER, train.pictures)
        pictures = with_teacher_boxes(train.pictures, labels, least_score=config.teacher_least_score)
        added = sum(len(picture.boxes_xyxy) for picture in pictures) - train.num_boxes
        _console(world).print(f"the teacher adds {added} boxes of score {config.teacher_least_score} and more")
        train = replace(train, pictures=pictures)
    if not train.num_boxes:
        raise TrainingError(f"{train.name}: has no boxes to learn from")
    stored = _stored(config, train, report.folder, world)
    try:
        TrainingRun(config, config.model(train.class_names), train, stored, val, report, world).execute(state)
    finally:
        stored.close()
    _console(world).print(f"done: {report.folder / BEST}; next: mmp-export {report.folder / BEST}")
    if world.is_first:
        write_run_report(report.folder, val, device=config.device)


def _stored(config: TrainConfig, train: Dataset, folder: Path, world: World) -> StoredPictures:
    """Where the pictures' pixels come from: the disk, or a file on each machine, decoded once."""
    longest_px = 2 * max(config.imgsz)
    plain = StoredPictures(train.pictures, longest_px)
    if config.cache == "off":
        return plain
    needed = plain.num_bytes()
    if config.cache == "auto" and not world.from_first(fits(needed, folder)):
        _console(world).print(
            f"decoded pictures would take {needed / 1e9:.1f} GB: they are decoded every epoch instead"
        )
        return plain
    cached = CachedPictures(train.pictures, longest_px, folder / f"pictures-{world.machine}.cache")
    if world.local_rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        cached.fill(progress=partial(track, description="decoding", total=len(cached), console=_console(world)))
    world.wait()
    return cached


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


def validation_paths(data: Sequence[Path], val: Sequence[Path]) -> tuple[str, ...]:
    """The data to watch: those given, else those of the training data that have a val split of their own."""
    chosen = val or [path for path in data if has_split(path, "val")]
    return tuple(str(path.resolve()) for path in chosen)


def _read_all(config: TrainConfig, console: Console) -> tuple[Dataset, Dataset | None]:
    """The pictures to learn from, those without labels last, and those to watch.

    Raises: DatasetError for bad data, TrainingError for a folder without pictures or pictures without boxes.
    """
    train = read_data([Path(path) for path in config.data], "train", config.classes)
    watched = [Path(path) for path in config.val]
    val = read_data(watched, "val", config.classes, allow_absent=True) if watched else None
    show_scan(console, scan(train, input_hw=config.imgsz))
    watching = "no validation set: best is last" if val is None else f"to watch: {val.name}, {len(val.pictures)}"
    console.print(f"{train.name}: {len(train.pictures)} pictures, {train.num_boxes} boxes; {watching}")
    if not train.num_boxes and config.teacher is None:
        raise TrainingError(f"{train.name}: has no boxes to learn from")
    for folder in config.unlabelled:
        pictures = unlabelled_pictures(Path(folder))
        console.print(f"{folder}: {len(pictures)} pictures without labels")
        train = replace(train, pictures=(*train.pictures, *pictures))
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
