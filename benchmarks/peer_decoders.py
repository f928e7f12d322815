"""Other people's detectors behind the interface of ours: a frame in, its people out. For comparison only.

The families and their decoders are those of mmpnet.evaluation.peers. Score threshold, NMS and number of boxes are the
evaluation's, the same for everybody; a family that needs no NMS gets none.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.evaluation.peers.detector import PeerDetector
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.session import open_session

PERSON = 1
"""The class id that every contestant's people get."""
CLASS_NAMES = ("background", "person")
PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}


@dataclass(slots=True)
class Contestant:
    """A model ready to be run: its file, its family, its input, and the function from frame to Detections.

    `infer_ms` is the network's part of the latest call.
    """

    path: Path
    family: str
    precision: str
    input_hw: tuple[int, int]
    detect: Callable[[UInt8Array], tuple[Detections, float]]
    infer_ms: float = 0.0

    @property
    def name(self) -> str:
        return self.path.stem

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        """The people in one frame (H, W, 3)."""
        found, self.infer_ms = self.detect(frame_bgr)
        return found


def open_contestant(
    path: Path, *, threads: int, thresholds: Thresholds, input_hw: tuple[int, int] | None = None
) -> Contestant:
    """A model of a known family: ours, or one of mmpnet.evaluation.peers; input_hw where the file leaves it free.

    Raises: ContractError if the file is of none of them.
    """
    # Contestants take turns: one's threads, waiting, would take another's cores.
    session = open_session(path, provider="cpu", threads=threads, spin=False)
    if "mmpnet" in session.get_modelmeta().custom_metadata_map:
        return _ours(path, threads, thresholds)
    return _peer(path, session, thresholds, input_hw)


def file_sha256(path: Path) -> str:
    """Of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ours(path: Path, threads: int, thresholds: Thresholds) -> Contestant:
    detector = Detector(path, provider="cpu", threads=threads, thresholds=thresholds, spin=False)
    people = detector.class_names.index("person")

    def detect(frame_bgr: UInt8Array) -> tuple[Detections, float]:
        found, times = detector.timed(frame_bgr)
        kept = found.class_id == people
        ids = np.full(int(kept.sum()), PERSON, np.int64)
        return Detections(found.xyxy[kept], found.score[kept], ids), times.infer_ms

    metadata = detector.metadata
    return Contestant(path, "mmpnet", PRECISIONS[metadata.precision], metadata.input.size_hw, detect)


def _peer(path: Path, session: Any, thresholds: Thresholds, input_hw: tuple[int, int] | None) -> Contestant:
    detector = PeerDetector(session, name=str(path), wanted=CLASS_NAMES[1:], thresholds=thresholds, input_hw=input_hw)
    # Whatever wrote the file, the names of its operators stand in it as they are: onnx is not needed to find one.
    precision = "int8" if b"DequantizeLinear" in path.read_bytes() else "fp32"
    return Contestant(path, detector.family.name, precision, detector.input_hw, detector.timed)
