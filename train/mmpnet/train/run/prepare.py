"""Prepare the data of a run: mix datasets, add pseudo-labels, fit anchors, fill the image cache."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.statistics import dataset_statistics
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import require_measurable
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.distillation.ensemble import open_ensemble
from mmpnet.train.distillation.pseudo_labels import (
    TeacherLabels,
    ask_teachers,
    load_teacher_labels,
    unlabeled_images,
    with_teacher_boxes,
)
from mmpnet.train.engine.distributed import World, require_shareable
from mmpnet.train.loading.image_cache import CachedImages, StoredImages, fits
from mmpnet.train.loading.sampling import image_weights
from mmpnet.train.run.anchor_fit import coverage, input_boxes, suited_anchors
from mmpnet.train.run.callbacks import RunCallbacks

TEACHER = "teacher.json"


def validation_paths(train: Sequence[str], val: Sequence[str]) -> tuple[str, ...]:
    """The paths of the data to watch: `val`, or if that is empty, the training data that have a val split."""
    return tuple(val) or tuple(path for path in train if has_split(Path(path), "val"))


def read_all(config: TrainConfig, callbacks: RunCallbacks) -> tuple[Dataset, Dataset | None]:
    """The images to learn from, those without labels last, and the images to watch.

    Raises: DatasetError for bad data, TrainingError for a folder without images or images without boxes.
    """
    train = load_dataset([Path(path) for path in config.data.train], "train", config.data.classes)
    watched = [Path(path) for path in config.data.val]
    val = load_dataset(watched, "val", config.data.classes, allow_absent=True, undivided=True) if watched else None
    callbacks.data_read(dataset_statistics(train, input_hw=config.model.input_hw))
    watching = "no validation set: best is last" if val is None else f"to watch: {val.name}, {len(val.images)} images"
    callbacks.notice(f"{train.name}: {len(train.images)} images, {train.num_boxes} boxes; {watching}")
    _notice_repeated(train, val, callbacks)
    if config.distillation.teacher is None:
        require_boxes(train)
    return _with_unlabeled(train, val, config.distillation.unlabelled, callbacks), val


def _notice_repeated(train: Dataset, val: Dataset | None, callbacks: RunCallbacks) -> None:
    """Report files that are learned from twice, and files that are both learned from and watched."""
    learned = [os.path.realpath(image.path) for image in train.images]
    twice = len(learned) - len(set(learned))
    if twice:
        callbacks.notice(
            f"note: {twice} images are in {train.name} more than once: they count as often as they are there"
        )
    watched = {os.path.realpath(image.path) for image in val.images} if val is not None else set()
    both = len(watched.intersection(learned))
    if both:
        callbacks.notice(
            f"note: {both} of the {len(watched)} images to watch are also learned from: their accuracy is too good"
        )


def _with_unlabeled(train: Dataset, val: Dataset | None, folders: Sequence[str], callbacks: RunCallbacks) -> Dataset:
    """The training images, and those images of the folders that are in no data set.

    The accuracy on images that are learned from would be too high, so images to watch are left out.
    """
    sets = (train,) if val is None else (train, val)
    known = {os.path.realpath(image.path) for one in sets for image in one.images}
    for folder in folders:
        found = unlabeled_images(Path(folder))
        new = [image for image in found if os.path.realpath(image.path) not in known]
        if not new:
            raise TrainingError(f"{folder}: all {len(found)} images are in the data already; give other ones")
        known.update(os.path.realpath(image.path) for image in new)
        left_out = f", {len(found) - len(new)} left out that are in the data already" if len(new) < len(found) else ""
        callbacks.notice(f"{folder}: {len(new)} images without labels{left_out}")
        train = replace(train, images=(*train.images, *new))
    return train


def require_boxes(train: Dataset) -> None:
    """Raises: TrainingError if there is no box to learn from; crowds are none."""
    if all(image.crowd.all() for image in train.images):
        marked = f", as all {train.num_boxes} are marked as crowds" if train.num_boxes else ""
        raise TrainingError(
            f"{train.name}: has no boxes to learn from{marked}; label some people in it, or let a --teacher find them"
        )


def check_trainable(config: TrainConfig, train: Dataset, world: World) -> None:
    """Check, before a folder is made, that these images can be trained on with these options.

    Raises: TrainingError if batches cannot be shared or normalized, or a group weight matches no image.
    """
    require_shareable(config.loading.batch, len(train.images), world)
    image_weights(train.images, config.data.group_weights)
    shown = min(config.loading.batch, len(train.images))
    if not config.can_normalize(shown):
        raise TrainingError(
            f"{train.name}: {shown} image at the smallest input size gives batch norm a single value; raise --imgsz, "
            "or give more images"
        )


def with_anchors(config: TrainConfig, train: Dataset, callbacks: RunCallbacks) -> TrainConfig:
    """The options with the anchors of the run: with `anchors: auto`, those that are fitted to the boxes.

    The callbacks get how well they cover the boxes.
    """
    boxes = input_boxes(train.images, config.model_config(train.class_names).letterbox)
    chosen = given = config.anchors
    if config.model.anchors == "auto":
        chosen = suited_anchors(given, boxes, config.model.input_hw, callbacks.notice)
    callbacks.anchors_covered(coverage(boxes, chosen, config.model.input_hw))
    model = msgspec.structs.replace(config.model, sizes_px=chosen.sizes_px, aspect_ratios=chosen.aspect_ratios)
    return msgspec.structs.replace(config, model=model)


def teaching(
    config: TrainConfig, train: Dataset, class_names: Sequence[str], callbacks: RunCallbacks
) -> Callable[[], TeacherLabels]:
    """Opens the teacher, and gives what it will say when it is asked: of a detector what it finds on the images, of
    an earlier run's teacher.json what was found then.

    Raises: TrainingError for a file that cannot teach; later DatasetError for a bad image, and TrainingError if
    there is then still nothing to learn.
    """
    assert config.distillation.teacher is not None
    path = Path(config.distillation.teacher)
    if path.suffix == ".json":
        remembered = load_teacher_labels(path, train.images, class_names)
        return lambda: _checked_lesson(remembered, config, train)
    teachers = open_ensemble([path], class_names)

    def ask() -> TeacherLabels:
        def shown(images: Sequence[LabeledImage]) -> Iterable[LabeledImage]:
            return callbacks.progress(images, "asking the teacher")

        labels = ask_teachers(teachers, train.images, class_names, progress=shown)
        return _checked_lesson(labels, config, train)

    return ask


def _checked_lesson(labels: TeacherLabels, config: TrainConfig, train: Dataset) -> TeacherLabels:
    images = with_teacher_boxes(train.images, labels, least_score=config.distillation.teacher_least_score)
    require_boxes(replace(train, images=images))
    return labels


def taught(config: TrainConfig, train: Dataset, folder: Path, callbacks: RunCallbacks) -> Dataset:
    """The data set with what the teacher found when the run started.

    Raises: TrainingError if that is gone or of other images.
    """
    labels = load_teacher_labels(folder / TEACHER, train.images, train.class_names)
    images = with_teacher_boxes(train.images, labels, least_score=config.distillation.teacher_least_score)
    added = sum(len(image.boxes_xyxy) for image in images) - train.num_boxes
    callbacks.notice(f"the teacher adds {added} boxes of score {config.distillation.teacher_least_score} and more")
    return replace(train, images=images)


@contextmanager
def stored_images(
    config: TrainConfig, train: Dataset, folder: Path, world: World, callbacks: RunCallbacks
) -> Iterator[StoredImages]:
    """The source of the images' pixels: the disk, or a cache file on each machine.

    The cache file is decoded once, and removed when the context ends, also after an error.

    Raises: DatasetError for a bad image, TrainingError if the file cannot be written.
    """
    longest_px = 2 * max(config.model.input_hw)
    plain = StoredImages(train.images, longest_px)
    needed = plain.num_bytes()
    # Only the first process has created the folder by now.
    if config.loading.cache == "auto" and not world.from_first(world.is_first and fits(needed, folder)):
        callbacks.notice(f"decoded images would take {needed / 1e9:.1f} GB: they are decoded every epoch instead")
        yield plain
        return
    if config.loading.cache == "off":
        yield plain
        return
    cached = CachedImages(train.images, longest_px, folder / f"images-{world.machine}.cache")
    try:
        if world.local_rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            cached.fill(progress=callbacks.progress)
        world.wait()
        yield cached
    finally:
        cached.close()


def check_measurable(val: Dataset | None, model: ModelConfig) -> None:
    """Check before the first epoch that the validation set can be evaluated.

    Raises: DatasetError if it has none of the model's classes.
    """
    if val is not None:
        require_measurable(val, model.class_names)
