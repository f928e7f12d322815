"""Labels from trained detectors: an ONNX teacher detects in each training image once.

Detections that people did not label become boxes whose target is the teacher's score instead of 1 (soft labels after
Hinton et al. 2015). They are computed once for each image, not for each augmented view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mmpnet.contract.arrays import IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError, TrainingError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.evaluation.peers.detector import PeerDetector
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.session import open_session

TEACHER_THRESHOLDS = Thresholds(conf=0.01, iou=0.5, max_det=100)

Detect: TypeAlias = Callable[[UInt8Array], Detections]


@dataclass(frozen=True, slots=True)
class OpenedTeacher:
    """An opened teacher file.

    views are functions from frame to Detections with the student's class ids, one for each input size. class_ids are
    those of the student that it knows. has_free_input is true if it takes images of any size. network is that of its
    metadata, "" for files of other projects.
    """

    name: str
    views: tuple[Detect, ...]
    class_ids: frozenset[int]
    has_free_input: bool
    network: str = ""


def open_teacher(path: Path, class_names: Sequence[str], sizes: Sequence[tuple[int, int]] = ()) -> OpenedTeacher:
    """Open a file of mmp-export or of a family of mmpnet.evaluation.peers; classes are matched by name, index 0 is
    background. sizes: input (height, width) of a file that takes any; the others keep their own.

    Raises: TrainingError if the file is of no known family, knows none of the classes, or does not take a size.
    """
    try:
        session = open_session(path, provider="cpu")
        if "mmpnet" in session.get_modelmeta().custom_metadata_map:
            return _our_teacher(path, class_names)
        return _peer_teacher(session, path, class_names, sizes)
    except MmpnetError as error:
        raise TrainingError(f"teacher {error}") from error


def _our_teacher(path: Path, class_names: Sequence[str]) -> OpenedTeacher:
    detector = Detector(path, thresholds=TEACHER_THRESHOLDS, provider="cpu")
    if not set(detector.class_names[1:]).intersection(class_names):
        raise TrainingError(f"{path}: knows {list(detector.class_names[1:])}, but none of {list(class_names[1:])}")
    teacher = _teacher(path, [detector], detector.class_names, class_names, has_free_input=False)
    return replace(teacher, network=detector.metadata.network)


def _peer_teacher(
    session: Any, path: Path, class_names: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> OpenedTeacher:
    def opened(input_hw: tuple[int, int] | None) -> PeerDetector:
        return PeerDetector(
            session, name=str(path), wanted=class_names[1:], thresholds=TEACHER_THRESHOLDS, input_hw=input_hw
        )

    first = opened(None)
    detectors = [opened(size) for size in sizes] if first.has_free_input and sizes else [first]
    return _teacher(path, detectors, first.class_names, class_names, has_free_input=first.has_free_input)


def _teacher(
    path: Path, detectors: Sequence[Detect], known: Sequence[str], class_names: Sequence[str], *, has_free_input: bool
) -> OpenedTeacher:
    to_student = np.array([class_names.index(name) if name in class_names[1:] else 0 for name in known])
    views = tuple(_with_ids(detect, to_student) for detect in detectors)
    return OpenedTeacher(path.name, views, frozenset(to_student[to_student > 0].tolist()), has_free_input)


def _with_ids(detect: Detect, to_student: IntArray) -> Detect:
    """Return the detections of the classes whose new id, to_student[class id], is not 0."""

    def detect_shared(frame_bgr: UInt8Array) -> Detections:
        found = detect(frame_bgr)
        class_id = to_student[found.class_id]
        shared = class_id > 0
        return Detections(xyxy=found.xyxy[shared], score=found.score[shared], class_id=class_id[shared])

    return detect_shared
