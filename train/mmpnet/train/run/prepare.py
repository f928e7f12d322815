"""Prepare the data of a run: mix datasets, add pseudo-labels, fit anchors, fill the image cache."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from mmpnet.contract.errors import TrainingError
from mmpnet.contract.text import counted
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.statistics import dataset_statistics
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import require_measurable
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.choices import TEACHER_LABELS_SUFFIX
from mmpnet.train.distillation.ensemble import open_ensemble
from mmpnet.train.distillation.feature_maps import FeatureTeacher
from mmpnet.train.distillation.pseudo_labels import (
    TeacherLabels,
    ask_teachers,
    load_teacher_labels,
    unlabeled_images,
    with_teacher_boxes,
)
from mmpnet.train.distillation.uncertain import settle_uncertain
from mmpnet.train.engine.distributed import World, require_shareable
from mmpnet.train.loading.image_cache import CachedImages, StoredImages, fits
from mmpnet.train.loading.sampling import image_weights
from mmpnet.train.network.onnx_weights import shape_of
from mmpnet.train.run.anchor_fit import coverage, input_boxes, suited_anchors
from mmpnet.train.run.callbacks import RunCallbacks

TEACHER = "teacher.json"


def validation_paths(train: Sequence[str], val: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the validation data: `val`, or if that is empty, the training data that have a val split."""
    return tuple(val) or tuple(path for path in train if has_split(Path(path), "val"))


def read_all(config: TrainConfig, callbacks: RunCallbacks) -> tuple[Dataset, Dataset | None]:
    """Return the images to learn from, those without labels last, and the validation set, if there is one.

    Raises: DatasetError for bad data, TrainingError for a folder without images or images without boxes.
    """
    train = load_dataset([Path(path) for path in config.data.train], "train", config.data.classes)
    paths = [Path(path) for path in config.data.val]
    val = load_dataset(paths, "val", config.data.classes, allow_absent=True, undivided=True) if paths else None
    callbacks.data_read(dataset_statistics(train, input_hw=config.model.input_hw))
    validation = (
        "none, so best.pth is the last state" if val is None else f"{val.name}, {counted(len(val.images), 'image')}"
    )
    callbacks.notice(
        f"{train.name}: {counted(len(train.images), 'image')}, {counted(train.num_boxes, 'box')}; "
        f"validation set: {validation}"
    )
    for note in (*train.notes, *(() if val is None else val.notes)):
        callbacks.notice(f"note: {note}")
    _notice_repeated(train, val, callbacks)
    train = _without_uncertain(config, train, callbacks)
    if not config.distillation.teachers:
        require_boxes(train)
    return _with_unlabeled(train, val, config.distillation.unlabelled, callbacks), val


def _notice_repeated(train: Dataset, val: Dataset | None, callbacks: RunCallbacks) -> None:
    """Report files that are learned from twice, and files that are both learned from and in the validation set."""
    learned = [os.path.realpath(image.path) for image in train.images]
    twice = len(learned) - len(set(learned))
    if twice:
        callbacks.notice(
            f"note: {counted(twice, 'image', ('is', 'are'))} in {train.name} more than once: "
            "they count as often as they are there"
        )
    measured = {os.path.realpath(image.path) for image in val.images} if val is not None else set()
    both = len(measured.intersection(learned))
    if both:
        callbacks.notice(
            f"note: {both} of the {len(measured)} validation images are also learned from: their accuracy is too high"
        )


def _without_uncertain(config: TrainConfig, train: Dataset, callbacks: RunCallbacks) -> Dataset:
    """Return the data set; with `uncertain: ignore`, the uncertain boxes of its label files are ignored."""
    settled = replace(train, images=_settle(train.images, config))
    ignored = _num_ignored(settled.images) - _num_ignored(train.images)
    if ignored:
        callbacks.notice(
            f"{train.name}: {counted(ignored, 'box')} with a score below {config.distillation.sure_score:g} ignored"
        )
    return settled


def _settle(images: Sequence[LabeledImage], config: TrainConfig) -> tuple[LabeledImage, ...]:
    """`settle_uncertain` with the options of the run."""
    options = config.distillation
    return settle_uncertain(images, uncertain=options.uncertain, sure_score=options.sure_score)


def _num_ignored(images: Sequence[LabeledImage]) -> int:
    """Return the number of boxes that are not learned: crowds and uncertain ones."""
    return sum(int(image.crowd.sum()) for image in images)


def _with_unlabeled(train: Dataset, val: Dataset | None, folders: Sequence[str], callbacks: RunCallbacks) -> Dataset:
    """Return the training images, and those images of the folders that are in no data set.

    The accuracy on images that are learned from would be too high, so validation images are left out.
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
        callbacks.notice(f"{folder}: {counted(len(new), 'image')} without labels{left_out}")
        train = replace(train, images=(*train.images, *new))
    return train


def require_boxes(train: Dataset) -> None:
    """Raises: TrainingError if there is no box to learn from; crowds and ignored boxes do not count."""
    if all(image.crowd.all() for image in train.images):
        marked = f", as all {train.num_boxes} are marked as crowds or ignored as uncertain" if train.num_boxes else ""
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


def with_shipped_shape(config: TrainConfig, callbacks: RunCallbacks) -> TrainConfig:
    """The config with the shape of the shipped model if training starts from its weights, which fit no smaller network.

    More channels and larger kernels stay as the config has them.
    """
    if config.model.weights != "default":
        return config
    shape = shape_of(model_path())
    shipped = shape.architecture
    model = msgspec.structs.replace(
        config.model,
        separate_towers=shipped.separate_towers,
        tower_depth=shipped.tower_depth,
        kernel_size=max(config.model.kernel_size, shipped.kernel_size),
        channels=max(config.model.channels, shape.channels),
    )
    if model != config.model:
        kind = "separate towers" if shipped.separate_towers else "one tower"
        callbacks.notice(
            f"the network has {kind} of depth {shipped.tower_depth}, {model.channels} channels and kernels of "
            f"{model.kernel_size}x{model.kernel_size}, as the shipped model needs it"
        )
    return msgspec.structs.replace(config, model=model)


def with_anchors(config: TrainConfig, train: Dataset, callbacks: RunCallbacks) -> TrainConfig:
    """Return the options with the anchors of the run: with `anchors: auto`, those that are fitted to the boxes.

    The callbacks get how well they cover the boxes.
    """
    boxes = input_boxes(train.images, config.model_config(train.class_names).letterbox)
    chosen = given = config.anchors
    if config.model.anchors == "auto":
        chosen = suited_anchors(given, boxes, config.model.input_hw, callbacks.notice)
    callbacks.anchors_covered(coverage(boxes, chosen, config.model.input_hw))
    model = msgspec.structs.replace(config.model, sizes_px=chosen.sizes_px, aspect_ratios=chosen.aspect_ratios)
    return msgspec.structs.replace(config, model=model)


def teaching(config: TrainConfig, train: Dataset, callbacks: RunCallbacks) -> Callable[[], TeacherLabels]:
    """Open the teachers; returns a function that gives their labels of the training images.

    Detectors are run by that function. The teacher.json of an earlier run is read here.

    Raises: TrainingError for a file that cannot teach. The function raises DatasetError for a bad image, and
    TrainingError if the images have no box to learn from with the labels either.
    """
    class_names, options = train.class_names, config.distillation
    paths = [Path(path) for path in options.teachers]
    if paths[0].suffix == TEACHER_LABELS_SUFFIX:
        stored = load_teacher_labels(paths[0], train.images, class_names)
        return lambda: _checked_labels(stored, config, train)
    teachers = open_ensemble(paths, class_names, sizes=options.teacher_sizes, flip=options.teacher_flip)
    for line in teachers.unknown_classes(class_names):
        callbacks.notice(line)

    def label() -> TeacherLabels:
        def shown(images: Sequence[LabeledImage]) -> Iterable[LabeledImage]:
            return callbacks.progress(images, "running the teacher")

        labels = ask_teachers(teachers, train.images, class_names, progress=shown)
        return _checked_labels(labels, config, train)

    return label


def _checked_labels(labels: TeacherLabels, config: TrainConfig, train: Dataset) -> TeacherLabels:
    require_boxes(replace(train, images=_learned_images(labels, config, train)))
    return labels


def opened_feature_teacher(config: TrainConfig, world: World) -> FeatureTeacher | None:
    """Return the detector whose maps are learned too, if the options name one.

    Raises: TrainingError if it cannot teach, or if several processes or input sizes share the run.
    """
    path = config.distillation.feature_teacher
    if path is None:
        return None
    if not world.is_alone:
        raise TrainingError("--feature-teacher: works in one process; run mmp-train without torchrun, or leave it out")
    if len(config.input_sizes()) > 1:
        raise TrainingError("--feature-teacher: works at one input size; leave --multi-scale or --feature-teacher out")
    return FeatureTeacher(Path(path), config.model.input_hw, threads=torch.get_num_threads())


def taught(config: TrainConfig, train: Dataset, folder: Path, callbacks: RunCallbacks) -> Dataset:
    """Return the data set with the boxes that the teachers found when the run started, from its folder.

    Raises: TrainingError if their labels are missing or belong to other images.
    """
    labels = load_teacher_labels(folder / TEACHER, train.images, train.class_names)
    images = _learned_images(labels, config, train)
    added = sum(len(image.boxes_xyxy) for image in images) - train.num_boxes
    ignored = _num_ignored(images) - _num_ignored(train.images)
    below = f"; {ignored} of them score below {config.distillation.sure_score:g} and are ignored" if ignored else ""
    who = "the teachers add" if len(labels.teachers) > 1 else "the teacher adds"
    callbacks.notice(
        f"{who} {counted(added, 'box')} of score {config.distillation.teacher_least_score} and more{below}"
    )
    return replace(train, images=images)


def _learned_images(labels: TeacherLabels, config: TrainConfig, train: Dataset) -> tuple[LabeledImage, ...]:
    """Return the training images with the teachers' boxes, of which those that are too uncertain are ignored."""
    images = with_teacher_boxes(train.images, labels, least_score=config.distillation.teacher_least_score)
    return _settle(images, config)


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


def check_readable(val: Dataset | None, callbacks: RunCallbacks) -> None:
    """Read every validation image once, so that a damaged one ends the run before its first epoch and not after it.

    Raises: DatasetError for the first bad image.
    """
    for image in callbacks.progress(() if val is None else val.images, "reading the validation images"):
        image.read()
