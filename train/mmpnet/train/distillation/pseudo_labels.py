"""The detections of teachers in the training images, stored in the run folder for resuming."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from mmpnet.contract.boxes import area, pairwise_iou
from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.contract.text import as_bytes, well_formed_values
from mmpnet.datasets.types import LabeledImage
from mmpnet.datasets.walk import files_below
from mmpnet.media.image_size import image_size_hw
from mmpnet.media.images import is_image
from mmpnet.system.files import atomic_write, is_file, is_folder
from mmpnet.train.choices import LEAST_SCORE
from mmpnet.train.distillation.ensemble import Ensemble, TeacherAnswer

SAME_OBJECT_IOU = 0.45
"""A teacher's box with at least this IoU with a labeled box of its class is the same object, and is not added."""


class TeacherBox(msgspec.Struct, frozen=True, array_like=True):
    """One detection: xyxy in px of the stored image; votes: the score that each of several teachers gave it."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    class_id: int
    votes: tuple[float, ...] = ()


class TeacherLabels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All boxes with a score of at least `LEAST_SCORE` that teachers found, by image.

    class_names: the classes of the boxes, index 0 is background. teachers: names of the files, in the order of the
    votes. teacher_sha256: hash of the files and their views.
    """

    teacher_sha256: str
    images_sha256: str = msgspec.field(name="pictures_sha256")
    class_names: tuple[str, ...]
    boxes: tuple[tuple[TeacherBox, ...], ...]
    teachers: tuple[str, ...] = ()


def images_sha256(images: Sequence[LabeledImage]) -> str:
    """Return the hash of the images' names and sizes, in order."""
    lines = (f"{image.path.name} {image.image_hw[0]} {image.image_hw[1]}\n" for image in images)
    return hashlib.sha256(as_bytes("".join(lines))).hexdigest()


def ask_teachers(
    teachers: Ensemble,
    images: Sequence[LabeledImage],
    class_names: Sequence[str],
    *,
    progress: Callable[[Sequence[LabeledImage]], Iterable[LabeledImage]] = iter,
) -> TeacherLabels:
    """Run the teachers on every image; class_names are those of the run, index 0 is background.

    Raises: DatasetError for the first bad image.
    """
    boxes = tuple(tuple(_likely(teachers(image.read()))) for image in progress(images))
    return TeacherLabels(teachers.sha256, images_sha256(images), tuple(class_names), boxes, teachers.names)


def save_teacher_labels(path: Path, labels: TeacherLabels) -> None:
    """Raises: OutputError if the file cannot be written."""
    with atomic_write(path) as partial:
        partial.write_bytes(msgspec.json.encode(well_formed_values(msgspec.to_builtins(labels))))


def read_teacher_labels(path: Path) -> TeacherLabels:
    """Raises: TrainingError if the file is missing or damaged."""
    if not is_file(path):
        raise TrainingError(f"{path}: the teacher labels of the run are missing; start a new run")
    try:
        return msgspec.json.decode(path.read_bytes(), type=TeacherLabels)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(
            f"{path}: the teacher's labels cannot be read ({error}); expected the teacher.json of a run"
        ) from error


def load_teacher_labels(path: Path, images: Sequence[LabeledImage], class_names: Sequence[str]) -> TeacherLabels:
    """Return the labels of these images in a teacher.json, with the class ids that class_names gives them.

    Raises: TrainingError if the file is missing, damaged, of other images, or without one of the classes.
    """
    labels = read_teacher_labels(path)
    if labels.images_sha256 != images_sha256(images) or len(labels.boxes) != len(images):
        raise TrainingError(
            f"{path}: holds a teacher's labels of other images; restore those of --data and --unlabeled, or start a "
            "new run with the teacher itself"
        )
    unknown = [name for name in class_names if name not in labels.class_names]
    if unknown:
        raise TrainingError(
            f"{path}: holds labels of {list(labels.class_names[1:])}, this run also learns {unknown}; start it with "
            "the teacher itself"
        )
    ids = {then: class_names.index(name) for then, name in enumerate(labels.class_names) if name in class_names}
    boxes = tuple(
        tuple(msgspec.structs.replace(box, class_id=ids[box.class_id]) for box in found if box.class_id in ids)
        for found in labels.boxes
    )
    return msgspec.structs.replace(labels, class_names=tuple(class_names), boxes=boxes)


def with_teacher_boxes(
    images: Sequence[LabeledImage], labels: TeacherLabels, *, least_score: float
) -> tuple[LabeledImage, ...]:
    """Return the images with the boxes of the teachers that are not labeled yet, each with its score."""
    return tuple(
        _extended(image, [box for box in boxes if box.score >= least_score])
        for image, boxes in zip(images, labels.boxes, strict=True)
    )


def unlabeled_images(folder: Path) -> tuple[LabeledImage, ...]:
    """Return every image of a folder and those below it, as `files_below` lists them, without boxes.

    Raises: TrainingError if there are none, DatasetError for a bad image.
    """
    if not is_folder(folder):
        raise TrainingError(f"{folder}: no such folder; --unlabeled takes a folder of images")
    paths = list(filter(is_image, files_below(folder)))
    if not paths:
        raise TrainingError(f"{folder}: has no images; --unlabeled takes a folder of images")
    return tuple(_unlabeled(path) for path in paths)


def _unlabeled(path: Path) -> LabeledImage:
    none = np.zeros(0, np.float32)
    return LabeledImage(
        path=path,
        image_hw=image_size_hw(path, error=DatasetError),
        boxes_xyxy=none.reshape(0, 4),
        class_ids=none.astype(np.int64),
        areas_px2=none,
        crowd=none.astype(np.bool_),
        scores=none,
        tags=("unlabelled",),
    )


def _likely(answer: TeacherAnswer) -> Iterator[TeacherBox]:
    found = answer.detections
    for xyxy, score, class_id, votes in zip(found.xyxy, found.score, found.class_id, answer.votes, strict=True):
        if score >= LEAST_SCORE:
            x1, y1, x2, y2 = (round(float(value), 1) for value in xyxy)
            by_teacher = tuple(round(float(vote), 3) for vote in votes) if len(votes) > 1 else ()
            yield TeacherBox(x1, y1, x2, y2, round(float(score), 4), int(class_id), by_teacher)


def _extended(image: LabeledImage, boxes: Sequence[TeacherBox]) -> LabeledImage:
    xyxy = np.array([(box.x1, box.y1, box.x2, box.y2) for box in boxes], np.float32).reshape(-1, 4)
    scores = np.array([box.score for box in boxes], np.float32)
    class_ids = np.array([box.class_id for box in boxes], np.int64)
    same = pairwise_iou(xyxy, image.boxes_xyxy) >= SAME_OBJECT_IOU  # (N, M)
    same &= class_ids[:, None] == image.class_ids
    new = ~same.any(axis=1) & (xyxy[:, 2:] - xyxy[:, :2] > 1).all(axis=1)
    return replace(
        image,
        boxes_xyxy=np.concatenate([image.boxes_xyxy, xyxy[new]]),
        class_ids=np.concatenate([image.class_ids, class_ids[new]]),
        areas_px2=np.concatenate([image.areas_px2, area(xyxy[new])]),
        crowd=np.concatenate([image.crowd, np.zeros(int(new.sum()), np.bool_)]),
        scores=np.concatenate([image.scores, scores[new]]),
    )
