"""Labels from a detector that is already trained: an ONNX teacher looks at the training pictures once.

What it finds beside the boxes that people drew becomes a box whose label is only as sure as the teacher's score: the
student should then say that score, not certainty (soft labels after Hinton et al. 2015, drawn once, not per view).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import MmpnetError, TrainingError
from mmpnet.evaluation.peers.detector import PeerDetector
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.session import open_session

TEACHER_THRESHOLDS = Thresholds(conf=0.01, iou=0.5, max_det=100)

Detect: TypeAlias = Callable[[UInt8Array], Detections]


def open_teacher(path: Path, class_names: Sequence[str]) -> Detect:
    """A teacher as a function from frame to Detections, with the student's class ids.

    Takes files of mmp-export and of the families of mmpnet.evaluation.peers; classes are matched by name.

    Raises: TrainingError if the file is of no known family, or knows none of the classes.
    """
    try:
        session = open_session(path, provider="cpu")
        if "mmpnet" in session.get_modelmeta().custom_metadata_map:
            return _our_teacher(path, class_names)
        return _peer_teacher(session, path, class_names)
    except MmpnetError as error:
        raise TrainingError(f"teacher {error}") from error


def _our_teacher(path: Path, class_names: Sequence[str]) -> Detect:
    detector = Detector(path, thresholds=TEACHER_THRESHOLDS, provider="cpu")
    if not set(detector.class_names[1:]).intersection(class_names):
        raise TrainingError(f"{path}: knows {list(detector.class_names[1:])}, but none of {list(class_names[1:])}")
    return _with_student_ids(detector, detector.class_names, class_names)


def _peer_teacher(session: Any, path: Path, class_names: Sequence[str]) -> Detect:
    detector = PeerDetector(session, name=str(path), wanted=class_names[1:], thresholds=TEACHER_THRESHOLDS)
    return _with_student_ids(detector, detector.class_names, class_names)


def _with_student_ids(detect: Detect, known: Sequence[str], class_names: Sequence[str]) -> Detect:
    """The detections of shared classes, with the ids that the student's class names have."""
    to_student = np.array([class_names.index(name) if name in class_names[1:] else 0 for name in known])

    def detect_shared(frame_bgr: UInt8Array) -> Detections:
        found = detect(frame_bgr)
        class_id = to_student[found.class_id]
        shared = class_id > 0
        return Detections(xyxy=found.xyxy[shared], score=found.score[shared], class_id=class_id[shared])

    return detect_shared
