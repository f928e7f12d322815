"""Several teachers, each from several views of an image, as one teacher."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import TrainingError
from mmpnet.system.files import file_sha256
from mmpnet.train.distillation.fusion import fuse
from mmpnet.train.distillation.teacher import Detect, OpenedTeacher, open_teacher


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """Detections with the student's class ids, and each teacher's vote for them (N, teachers): the score it gave, 0
    if it did not find the object. A detection's score is the mean vote of the teachers that know its class."""

    detections: Detections
    votes: FloatArray


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One or several teachers; with `flip` each also looks at the mirrored image."""

    teachers: tuple[OpenedTeacher, ...]
    flip: bool
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.teachers)

    @property
    def networks(self) -> tuple[str, ...]:
        """What tells each teacher's weights and input size apart from those of others."""
        return tuple(one.network for one in self.teachers)

    def __call__(self, frame_bgr: UInt8Array) -> TeacherAnswer:
        """Return the detections of the teachers together in one frame (H, W, 3) uint8 BGR."""
        seen = [[view(frame_bgr) for view in self._views(one)] for one in self.teachers]
        if len(seen) == 1 and len(seen[0]) == 1:
            (only,) = seen[0]
            return TeacherAnswer(only, only.score[:, None])
        return self._fused(seen)

    def unknown_classes(self, class_names: Sequence[str]) -> list[str]:
        """Return one line for each teacher that does not know all classes of the student; index 0 is background."""
        lines = []
        for teacher in self.teachers:
            unknown = [name for i, name in enumerate(class_names) if i > 0 and i not in teacher.class_ids]
            if unknown:
                lines.append(f"{teacher.name}: does not know {', '.join(unknown)}, and has no vote there")
        return lines

    def _views(self, teacher: OpenedTeacher) -> list[Detect]:
        return [*teacher.views, *(map(mirrored, teacher.views) if self.flip else ())]

    def _fused(self, seen: Sequence[Sequence[Detections]]) -> TeacherAnswer:
        owner = np.repeat(np.arange(len(seen)), [len(views) for views in seen])
        # All views of a teacher together have one vote, however many they are.
        weights = [1 / len(views) for views in seen for _ in views]
        clusters = fuse([one for views in seen for one in views], weights)
        votes = np.stack([clusters.scores[:, owner == teacher].mean(axis=1) for teacher in range(len(seen))], axis=1)
        ids = clusters.class_ids
        knows = np.array([[class_id in one.class_ids for one in self.teachers] for class_id in ids], np.bool_)
        score = votes.sum(axis=1) / knows.reshape(votes.shape).sum(axis=1)
        order = np.argsort(-score, kind="stable")
        detections = Detections(clusters.boxes_xyxy[order], score[order].astype(np.float32), ids[order])
        return TeacherAnswer(detections, votes[order])


def open_ensemble(
    paths: Sequence[Path], class_names: Sequence[str], *, sizes: Sequence[tuple[int, int]] = (), flip: bool = False
) -> Ensemble:
    """Open teachers for a student of these classes (index 0 is background); sizes: the input sizes (height, width) of
    those that take any.

    Raises: TrainingError as `open_teacher`, for a file given twice, or for sizes that no teacher takes.
    """
    for index, path in enumerate(paths):
        if path.resolve() in [one.resolve() for one in paths[:index]]:
            raise TrainingError(f"teacher {path}: is given twice; give it once")
    teachers = tuple(open_teacher(path, class_names, sizes) for path in paths)
    if sizes and not any(one.has_free_input for one in teachers):
        names = ", ".join(one.name for one in teachers)
        raise TrainingError(f"teacher sizes: {names} take images of one size only; leave --teacher-size out")
    return Ensemble(teachers, flip, _identity(paths, sizes, flip))


def mirrored(detect: Detect) -> Detect:
    """Return a function that detects in the mirror image, and gives boxes of the image itself."""

    def detect_mirrored(frame_bgr: UInt8Array) -> Detections:
        found = detect(np.ascontiguousarray(frame_bgr[:, ::-1]))
        width = np.float32(frame_bgr.shape[1])
        x1, y1, x2, y2 = found.xyxy.T
        return Detections(np.stack([width - x2, y1, width - x1, y2], axis=1), found.score, found.class_id)

    return detect_mirrored


def _identity(paths: Sequence[Path], sizes: Sequence[tuple[int, int]], flip: bool) -> str:
    """Return the hash of the only file, or of all files and views."""
    hashes = [file_sha256(path) for path in paths]
    if len(hashes) == 1 and not sizes and not flip:
        return hashes[0]
    return hashlib.sha256(repr((hashes, [tuple(size) for size in sizes], flip)).encode()).hexdigest()
