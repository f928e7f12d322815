"""What a run learns from: pictures of several data sets, a teacher's finds on them, anchors that cover them, pixels."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import TrainingError
from mmpnet.runtime.command import people
from mmpnet.runtime.datasets.check import read_data, show_scan
from mmpnet.runtime.datasets.recognise import has_split
from mmpnet.runtime.datasets.scan import scan
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.runtime.evaluate import require_measurable
from mmpnet.train.anchor_report import coverage, coverage_table, input_boxes, suggested_anchors
from mmpnet.train.cache import CachedPictures, StoredPictures, fits
from mmpnet.train.checkpoint import sha256_of
from mmpnet.train.config import ModelConfig, TrainConfig
from mmpnet.train.distributed import World
from mmpnet.train.pseudo_labels import (
    ask_teacher,
    load_teacher_labels,
    save_teacher_labels,
    unlabelled_pictures,
    with_teacher_boxes,
)
from mmpnet.train.teacher import Detect

TEACHER = "teacher.json"


def validation_paths(data: Sequence[Path], val: Sequence[Path]) -> tuple[str, ...]:
    """The data to watch: those given, else those of the training data that have a val split of their own."""
    chosen = val or [path for path in data if has_split(path, "val")]
    return tuple(str(path.resolve()) for path in chosen)


def read_all(config: TrainConfig, console: Console) -> tuple[Dataset, Dataset | None]:
    """The pictures to learn from, those without labels last, and those to watch.

    Raises: DatasetError for bad data, TrainingError for a folder without pictures or pictures without boxes.
    """
    train = read_data([Path(path) for path in config.data], "train", config.classes)
    watched = [Path(path) for path in config.val]
    val = read_data(watched, "val", config.classes, allow_absent=True) if watched else None
    show_scan(console, scan(train, input_hw=config.imgsz))
    watching = (
        "no validation set: best is last" if val is None else f"to watch: {val.name}, {len(val.pictures)} pictures"
    )
    console.print(f"{train.name}: {len(train.pictures)} pictures, {train.num_boxes} boxes; {watching}")
    if not train.num_boxes and config.teacher is None:
        raise TrainingError(f"{train.name}: has no boxes to learn from")
    for folder in config.unlabelled:
        pictures = unlabelled_pictures(Path(folder))
        console.print(f"{folder}: {len(pictures)} pictures without labels")
        train = replace(train, pictures=(*train.pictures, *pictures))
    return train, val


def with_anchors(config: TrainConfig, train: Dataset, console: Console) -> TrainConfig:
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


def let_teach(teacher: Detect, config: TrainConfig, train: Dataset, folder: Path) -> None:
    """Show the pictures to the teacher, and keep what it finds in the run's folder.

    Raises: DatasetError for a bad picture, OutputError if the folder cannot be written.
    """
    assert config.teacher is not None
    shown = partial(track, description="asking the teacher", console=people())
    labels = ask_teacher(teacher, sha256_of(Path(config.teacher)), train.pictures, progress=shown)
    save_teacher_labels(folder / TEACHER, labels)


def taught(config: TrainConfig, train: Dataset, folder: Path, console: Console) -> Dataset:
    """The data set with what the teacher found when the run started.

    Raises: TrainingError if that is gone or of other pictures.
    """
    labels = load_teacher_labels(folder / TEACHER, train.pictures)
    pictures = with_teacher_boxes(train.pictures, labels, least_score=config.teacher_least_score)
    added = sum(len(picture.boxes_xyxy) for picture in pictures) - train.num_boxes
    console.print(f"the teacher adds {added} boxes of score {config.teacher_least_score} and more")
    return replace(train, pictures=pictures)


def stored_pictures(
    config: TrainConfig, train: Dataset, folder: Path, world: World, console: Console
) -> StoredPictures:
    """Where the pictures' pixels come from: the disk, or a file on each machine, decoded once."""
    longest_px = 2 * max(config.imgsz)
    plain = StoredPictures(train.pictures, longest_px)
    if config.cache == "off":
        return plain
    needed = plain.num_bytes()
    if config.cache == "auto" and not world.from_first(fits(needed, folder)):
        console.print(f"decoded pictures would take {needed / 1e9:.1f} GB: they are decoded every epoch instead")
        return plain
    cached = CachedPictures(train.pictures, longest_px, folder / f"pictures-{world.machine}.cache")
    if world.local_rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        cached.fill(progress=partial(track, description="decoding", total=len(cached), console=console))
    world.wait()
    return cached


def check_measurable(val: Dataset | None, model: ModelConfig) -> None:
    """Find out now, not after the first epochs, whether the validation set can be evaluated."""
    if val is not None:
        require_measurable(val, model.class_names)
