"""What mmp-train does: check the data, start a run, or resume one."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from mmpnet.cli.class_option import checked_classes
from mmpnet.console.command import console
from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import counted
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.pack import pack_split
from mmpnet.datasets.sample import COUNTS, is_sample, write_sample
from mmpnet.datasets.sample import NAME as SAMPLE
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import Dataset
from mmpnet.system.addresses import check_no_secret, is_address
from mmpnet.system.files import check_folder, is_file
from mmpnet.train.artifacts.config import TrainConfig, config_of
from mmpnet.train.choices import NAMED_WEIGHTS
from mmpnet.train.cli.check import check, paths_of
from mmpnet.train.cli.run_display import RunDisplay
from mmpnet.train.engine.run_writer import LAST
from mmpnet.train.run.prepare import validation_paths
from mmpnet.train.run.start import new_folder, resume_run, start_run


def check_data(options: dict[str, Any], *, as_json: bool) -> None:
    """Check every file of the data.

    Raises: typer.Exit with 1 if there is a fault.
    """
    # Folders of unlabeled images can be checked without a teacher.
    config = _configured({**options, "unlabelled": ()})
    if not check(config, options["unlabelled"], as_json=as_json):
        raise typer.Exit(1)


def with_sample(options: dict[str, Any], *, weights_given: bool) -> dict[str, Any]:
    """The options; `--data sample` makes the folder of that name if there is none, and starts from the shipped weights
    unless others are given, as ImageNet's are a download.

    Raises: OutputError if the folder cannot be written.
    """
    folders = [Path(path) for path in options["train"]]
    for folder in folders:
        if folder.name == SAMPLE and not folder.exists():
            write_sample(folder)
            console().print(f"{folder}: made {sum(COUNTS.values())} drawn images, to try the commands with")
    if weights_given or not all(map(is_sample, folders)):
        return options
    console().print("starting from the shipped weights; give --weights for others")
    return {**options, "weights": "default"}


def pack(options: dict[str, Any], folder: Path, *, longest_px: int | None, address: str | None) -> None:
    """Copy the training and the validation images into shards, with their labels in a new folder.

    Raises: OutputError if the folder exists, MmpnetErrors as `pack_split`; the folder is removed then.
    """
    if address is not None and not is_address(address):
        raise typer.BadParameter(f"--shards {address}: expected an address such as s3://bucket/people")
    if address is not None:
        check_no_secret(address, error=OutputError)  # it is written into the labels
    if folder.exists():
        raise OutputError(f"{folder}: exists; remove it, or choose another folder")
    check_folder(folder, option=f"--pack {folder}")
    data = _configured(options).data
    train = load_dataset(paths_of(data.train), "train", data.classes)
    paths = paths_of(data.val)
    val = load_dataset(paths, "val", data.classes, allow_absent=True, undivided=True) if paths else None
    show = RunDisplay(console()).callbacks()
    splits: dict[Split, Dataset] = {"train": train} if val is None else {"train": train, "val": val}
    try:
        folder.mkdir(parents=True)
    except OSError as error:  # another command may have made it meanwhile
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    try:
        packed = [
            pack_split(one, split, folder, address=address, longest_px=longest_px, progress=show.progress)
            for split, one in splits.items()
        ]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    images = [counted(one.images, "image") for one in packed]
    validated = f", {images[1]} to validate on" if val is not None else ""
    size_mb = sum(one.image_bytes for one in packed) / 1e6
    shards = counted(sum(one.shards for one in packed), "shard")
    show.notice(f"{images[0]} to learn from{validated} in {shards}, {size_mb:.1f} MB; next: mmp-train --data {folder}")


def start(options: dict[str, Any], project: Path, name: str | None) -> None:
    """Train from the first epoch in a new folder."""
    start_run(_configured(options), new_folder(project, name), callbacks=RunDisplay(console()).callbacks())


def start_or_resume(
    options: dict[str, Any], project: Path, name: str, *, device: str | None, workers: int | None
) -> None:
    """Resume the run of this name if it has a last.pth, otherwise start it; device and workers replace those of the run
    if they are given.

    So the same command line continues a run after torchrun, or a queue of jobs, has started it again.

    Raises: TrainingError if the run was started with other options.
    """
    folder, callbacks = project / name, RunDisplay(console()).callbacks()
    config = _configured(options)
    if is_file(folder / LAST):
        data, val = config.data.train, config.data.val
        resume_run(folder, device=device, workers=workers, data=data, val_data=val, same_as=config, callbacks=callbacks)
    else:
        start_run(config, folder, callbacks=callbacks)


def resume(
    path: Path, *, device: str | None, workers: int | None, data: Sequence[str] = (), val: Sequence[str] = ()
) -> None:
    """Resume the run of a folder or a last.pth; None keeps the device and the workers of the run. data, val: where its
    data are now, if they were moved."""
    data, val = (_resolved(paths) for paths in (data, val))
    resume_run(
        path, device=device, workers=workers, data=data, val_data=val, callbacks=RunDisplay(console()).callbacks()
    )


def _resolved(paths: Sequence[str]) -> list[str]:
    return [str(Path(path).resolve()) for path in paths]


def _configured(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration that the command line asks for.

    Raises: typer.BadParameter if an option is out of its bounds, or options do not go together.
    """
    weights = options["weights"]
    with _as_bad_parameter():
        return config_of(
            {
                **options,
                "val": validation_paths(options["train"], options["val"]),
                "classes": checked_classes(options["classes"]),
                "weights": weights if weights in NAMED_WEIGHTS else str(Path(weights).resolve()),
            }
        )


@contextmanager
def _as_bad_parameter() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
