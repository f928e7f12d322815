"""Our models and other people's behind one interface: a frame in, the persons in it out.

Score threshold, NMS and number of boxes are the same for all; a family that needs no NMS gets none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.evaluation.peers.detector import PeerDetector
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.runtime.inference.session import open_session
from mmpnet.system.files import is_file

PERSON = 1
"""The class id of a person in every contestant's detections."""
CLASS_NAMES = ("background", "person")
PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
OURS = EMBEDDED_MODELS
KNOWN_PEERS: dict[str, tuple[int | None, ...]] = {
    "yolox_nano_416.onnx": (None,),
    "nanodet_m_320.onnx": (None,),
    "rtmdet_nano_person.onnx": (320, 416),
}
"""Files by name, and the input sides in px at which each takes part; None is the size that is fixed in the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model file that takes part; `side_px` is that of its square input where the file leaves it free."""

    path: Path
    side_px: int | None = None
    timed_only: bool = False

    @property
    def name(self) -> str:
        """The file's name without suffix, with the side where one was chosen."""
        return self.path.stem if self.side_px is None else f"{self.path.stem}_{self.side_px}"


@dataclass(slots=True)
class Contestant:
    """An opened model: its family, its input, and the function from frame to Detections and the network's ms.

    `infer_ms` is the network's part of the latest call.
    """

    family: str
    precision: str
    input_hw: tuple[int, int]
    detect: Callable[[UInt8Array], tuple[Detections, float]]
    infer_ms: float = 0.0

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        """The persons in one frame (H, W, 3)."""
        found, self.infer_ms = self.detect(frame_bgr)
        return found


def parse_entry(text: str, *, timed_only: bool = False) -> Entry:
    """`FILE.onnx`, or `FILE.onnx@SIDE` for a file that leaves its input size free."""
    path, _, side = text.rpartition("@")
    if path and side.isdecimal() and not is_file(Path(text)):
        return Entry(Path(path), int(side), timed_only)
    return Entry(Path(text), None, timed_only)


def collect_entries(folder: Path | None, further: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Our models, the known peers that lie in `folder`, and `further`; and the known peers that are absent.

    Raises: MmpnetError if two entries have one name.
    """
    present = [] if folder is None else [folder / name for name in KNOWN_PEERS if is_file(folder / name)]
    peers = [Entry(path, side_px) for path in present for side_px in KNOWN_PEERS[path.name]]
    entries = [*(Entry(model_path(name)) for name in OURS), *peers, *further]
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise MmpnetError(f"contestants must have different names, got {', '.join(names)}")
    return entries, [name for name in KNOWN_PEERS if name not in {path.name for path in present}]


def open_contestant(entry: Entry, *, threads: int, thresholds: Thresholds) -> Contestant:
    """Open one of our files, or one of a family of mmpnet.evaluation.peers.

    Raises: ContractError if the file is neither, or does not take the entry's input size.
    """
    path = entry.path
    # Contestants take turns: the waiting threads of one would occupy the cores of another.
    session = open_session(path, provider="cpu", threads=threads, spin=False)
    if "mmpnet" in session.get_modelmeta().custom_metadata_map:
        return _ours(path, threads, thresholds)
    input_hw = None if entry.side_px is None else (entry.side_px, entry.side_px)
    detector = PeerDetector(session, name=str(path), wanted=CLASS_NAMES[1:], thresholds=thresholds, input_hw=input_hw)
    # The names of operators stand in the file as plain text, so that onnx is not needed to find one.
    precision = "int8" if b"DequantizeLinear" in path.read_bytes() else "fp32"
    return Contestant(detector.family.name, precision, detector.input_hw, detector.timed)


def _ours(path: Path, threads: int, thresholds: Thresholds) -> Contestant:
    detector = Detector(path, provider="cpu", threads=threads, thresholds=thresholds, spin=False)
    person = detector.class_names.index("person")

    def detect(frame_bgr: UInt8Array) -> tuple[Detections, float]:
        found, times = detector.timed(frame_bgr)
        kept = found[found.class_id == person]
        return Detections(kept.xyxy, kept.score, np.full(len(kept), PERSON, np.int64)), times.infer_ms

    metadata = detector.metadata
    return Contestant("mmpnet", PRECISIONS[metadata.precision], metadata.input.size_hw, detect)
