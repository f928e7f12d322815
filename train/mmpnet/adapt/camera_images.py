"""The images of one camera: in the order of their times, with the last times held out."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from mmpnet.adapt.collected_names import CollectedNames
from mmpnet.collect.records import LABELS, CollectedImage, journal_of
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.errors import TrainingError
from mmpnet.contract.text import counted
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.splits import Split
from mmpnet.datasets.types import LabeledImage
from mmpnet.evaluation.bootstrap import LEAST_IMAGES
from mmpnet.system.files import is_file
from mmpnet.system.progress import Notice, Progress
from mmpnet.train.distillation.ensemble import Ensemble
from mmpnet.train.distillation.pseudo_labels import ask_teachers, with_teacher_boxes

HELD_OUT = 0.3
"""Share of the images, the last ones in time, that the model never learns from."""
GAP_S = 10.0
"""Images this shortly before the held-out times are not learned either: the same people stand at the same places."""
SURE_SCORE, LEAST_SCORE = 0.5, 0.2
"""Where teachers are the judges, a box counts as a person from the first score on, and is ignored from the second."""
LEARNED_SCORE = 0.1
LEAST_AGREEMENT = 0.3
"""Teachers that find fewer of the boxes that people drew are of no use there, or the labels are of something else."""


@dataclass(frozen=True, slots=True)
class CameraImages:
    """What is learned and what is held out, and whether people or teachers drew the labels of the latter."""

    learned: tuple[LabeledImage, ...]
    held_out: tuple[LabeledImage, ...]
    by_people: bool


@dataclass(frozen=True, slots=True)
class CameraData:
    """The paths and models that images and labels come from; class_names are those of the model, 0 is background.
    held_out: labeled images to measure; without them, the last ones in time of the others are held out. old_model,
    old_network: name of the model to beat, and what its metadata has as `network`."""

    data: tuple[Path, ...]
    labeled: tuple[Path, ...]
    held_out: tuple[Path, ...]
    teachers: Ensemble | None
    old_model: str
    old_network: str
    class_names: tuple[str, ...]


def camera_images(camera: CameraData, *, notice: Notice, progress: Progress) -> CameraImages:
    """Read the images and split them by time.

    Raises: DatasetError for bad data; TrainingError if there are no labels to learn from other than the model's own, if
    teachers contradict the labels of people, or if too few images would be held out.
    """
    journal = _journal_of_all(camera.data)
    classes = camera.class_names[1:]
    collected = load_dataset([labels_of(path) for path in camera.data], "train", classes, undivided=True).images
    corrected = _read(camera.labeled, "train", classes)
    measured = _read(camera.held_out, "val", classes)
    names = CollectedNames(journal, collected, corrected, measured)
    if not camera.labeled and not journal:
        corrected, collected = collected, ()
    # Scores of pre-labels may have survived the correction; people are sure.
    corrected = tuple(replace(image, scores=np.ones_like(image.scores)) for image in corrected)
    known = {names.plain(image.path) for image in corrected}
    others = tuple(image for image in collected if names.plain(image.path) not in known)
    others = _labeled_by_models(others, journal, camera, notice, progress)
    if not corrected and not others:
        raise TrainingError(
            "there is nothing to learn from: the model itself drew the labels of all images; correct some of them and "
            "give them with --labeled, or give larger detectors with --teacher"
        )
    if camera.teachers is not None and corrected:
        _check_agreement(corrected, camera, progress)
    if camera.held_out:
        return _with_held_out((*corrected, *others), measured, names)
    times = _Times(journal, names)
    judged = corrected or others
    ends = times.ends(judged)
    held_out = tuple(image for image in judged if times.is_held_out(image, ends))
    learned = tuple(image for image in (*corrected, *others) if times.is_learned(image, ends))
    by_people = bool(corrected)
    _check_enough(learned, held_out, by_people=by_people)
    return CameraImages(learned, held_out if by_people else tuple(map(_as_truth, held_out)), by_people)


def _read(paths: Sequence[Path], split: Split, classes: Sequence[str]) -> tuple[LabeledImage, ...]:
    return load_dataset(paths, split, classes, allow_absent=True, undivided=True).images if paths else ()


def _with_held_out(
    images: tuple[LabeledImage, ...], held_out: tuple[LabeledImage, ...], names: CollectedNames
) -> CameraImages:
    """The images to learn from without those that are held out, which have the same name or the same bytes."""
    measured = {names.plain(image.path) for image in held_out}
    contents = {hashlib.sha256(image.content()).digest() for image in held_out}
    others = (image for image in images if names.plain(image.path) not in measured)
    learned = tuple(image for image in others if hashlib.sha256(image.content()).digest() not in contents)
    _check_enough(learned, held_out, by_people=True)
    return CameraImages(learned, held_out, by_people=True)


def _journal_of_all(paths: Sequence[Path]) -> dict[str, CollectedImage]:
    """The journals of all folders. Raises: TrainingError as `read_journal`, or if two have an image of one name."""
    journal: dict[str, CollectedImage] = {}
    for path in paths:
        of_folder = {image.name: image for image in read_journal(path)}
        twice = next((name for name in of_folder if name in journal), None)
        if twice is not None:
            raise TrainingError(
                f"{path}: has an image {twice}, and so has another folder of --data; collect both sources into one "
                "folder, or adapt to one camera at a time"
            )
        journal |= of_folder
    return journal


def read_journal(path: Path) -> list[CollectedImage]:
    """What mmp-collect knows of the images of a folder; empty for other data.

    Raises: TrainingError if its journal is damaged.
    """
    journal = journal_of(path)
    if not is_file(journal):
        return []
    try:
        lines = journal.read_bytes().split(b"\n")[:-1]
        return [msgspec.json.decode(line, type=CollectedImage) for line in lines]
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(f"{journal}: cannot be read ({error}); expected the journal of mmp-collect") from error


def labels_of(path: Path) -> Path:
    """The label file of a folder of mmp-collect, which also has the labels in other formats; other paths as given."""
    return path / LABELS if is_file(journal_of(path)) and is_file(path / LABELS) else path


def _labeled_by_models(
    images: tuple[LabeledImage, ...],
    journal: dict[str, CollectedImage],
    camera: CameraData,
    notice: Notice,
    progress: Progress,
) -> tuple[LabeledImage, ...]:
    """The images with the boxes of the teachers, or with those that other models than this one drew before."""
    if camera.teachers is not None and images:
        empty = [_without_boxes(image) for image in images]
        labels = ask_teachers(
            camera.teachers, empty, camera.class_names, progress=lambda steps: progress(steps, "running the teachers")
        )
        found = with_teacher_boxes(empty, labels, least_score=LEARNED_SCORE)
        if not any((image.scores >= SURE_SCORE).any() for image in found):
            raise TrainingError(
                f"{', '.join(camera.teachers.names)}: found nobody in {counted(len(images), 'image')}; check the "
                "images, or give other teachers or --labeled"
            )
        return found
    taught = tuple(
        image for image in images if image.path.name in journal and not _is_own(journal[image.path.name], camera)
    )
    if len(taught) < len(images):
        notice(
            f"{counted(len(images) - len(taught), 'image')} left out: the model itself drew the labels, so there is "
            "nothing to learn from them"
        )
    return taught


def _is_own(image: CollectedImage, camera: CameraData) -> bool:
    """Whether the model to beat, in any precision, drew all boxes."""
    if image.networks:
        return set(image.networks) <= {camera.old_network}
    return set(image.labeled_by) <= {camera.old_model}


def _check_agreement(corrected: Sequence[LabeledImage], camera: CameraData, progress: Progress) -> None:
    assert camera.teachers is not None
    sample = [image for image in corrected if len(image.boxes_xyxy)][:: max(len(corrected) // 50, 1)]
    n_boxes = n_found = 0
    for image in progress(sample, "comparing teachers and labels"):
        found = camera.teachers(image.read()).detections
        boxes = image.boxes_xyxy[~image.crowd]
        hits = pairwise_iou(boxes, found.xyxy[found.score >= LEAST_SCORE]) >= 0.5
        n_boxes += len(boxes)
        n_found += int(hits.any(axis=1).sum()) if hits.size else 0
    if n_boxes and n_found < LEAST_AGREEMENT * n_boxes:
        raise TrainingError(
            f"the teachers find {n_found} of {counted(n_boxes, 'box')} that people drew: one of them is wrong here; "
            "look at the labels, or leave --teacher out"
        )


class _Times:
    """Orders images by source and time; without a journal, by name."""

    def __init__(self, journal: dict[str, CollectedImage], names: CollectedNames) -> None:
        self._names = names
        self._journal = {Path(name).stem: image for name, image in journal.items()}
        self._is_live = {
            source: len({image.source_time_s for image in journal.values() if image.source == source}) <= 1
            for source in {image.source for image in journal.values()}
        }

    def source(self, image: LabeledImage) -> str:
        known = self._journal.get(self._names.plain(image.path))
        return known.source if known is not None else ""

    def time(self, image: LabeledImage) -> tuple[float, str]:
        """Seconds, then the name, whose numbers are in order if there is no time."""
        stem = self._names.plain(image.path)
        known = self._journal.get(stem)
        ordered = re.sub(r"\d+", lambda found: found[0].zfill(12), stem)
        if known is None:
            return 0.0, ordered
        if stem.endswith("ms"):  # a video: the time in it, not that of reading
            return known.source_time_s, ordered
        return datetime.fromisoformat(known.captured_at.replace("Z", "+00:00")).timestamp(), ordered

    def ends(self, images: Sequence[LabeledImage]) -> dict[str, tuple[float, str]]:
        """By source, the first time that is held out."""
        by_source: dict[str, list[tuple[float, str]]] = {}
        for image in images:
            by_source.setdefault(self.source(image), []).append(self.time(image))
        return {
            source: sorted(times)[min(round(len(times) * (1 - HELD_OUT)), len(times) - 1)]
            for source, times in by_source.items()
        }

    def is_held_out(self, image: LabeledImage, ends: dict[str, tuple[float, str]]) -> bool:
        return self.time(image) >= ends[self.source(image)]

    def is_learned(self, image: LabeledImage, ends: dict[str, tuple[float, str]]) -> bool:
        end = ends.get(self.source(image))
        if end is None:
            return True
        seconds, name = self.time(image)
        return (seconds, name) < end and (not end[0] or seconds <= end[0] - GAP_S)


def _check_enough(learned: Sequence[LabeledImage], held_out: Sequence[LabeledImage], *, by_people: bool) -> None:
    shown = sum(bool((~image.crowd).any()) for image in held_out)
    if not by_people:
        shown = sum(bool((image.scores >= SURE_SCORE).any()) for image in held_out)
    if shown < LEAST_IMAGES or not any(len(image.boxes_xyxy) for image in learned):
        raise TrainingError(
            f"{counted(len(learned) + len(held_out), 'image')} with labels are too few: the held-out last times have "
            f"{counted(shown, 'image')} with people, at least {LEAST_IMAGES} are needed to prove anything; collect more"
        )


def _as_truth(image: LabeledImage) -> LabeledImage:
    """An image whose teachers are the judges: sure boxes count, unsure ones are ignored."""
    kept = image.scores >= LEAST_SCORE
    return replace(
        image,
        boxes_xyxy=image.boxes_xyxy[kept],
        class_ids=image.class_ids[kept],
        areas_px2=image.areas_px2[kept],
        crowd=image.crowd[kept] | (image.scores[kept] < SURE_SCORE),
        scores=np.ones(int(kept.sum()), np.float32),
    )


def _without_boxes(image: LabeledImage) -> LabeledImage:
    none = np.zeros(0, np.float32)
    return replace(
        image,
        boxes_xyxy=none.reshape(0, 4),
        class_ids=none.astype(np.int64),
        areas_px2=none,
        crowd=none.astype(np.bool_),
        scores=none,
    )
