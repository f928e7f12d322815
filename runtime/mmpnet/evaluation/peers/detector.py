"""Run a third-party detector as a function from frame to Detections, with the class names that the caller uses.

It measures other detectors with the same evaluator, and serves as a teacher. Neither this module nor the families
open files: the caller passes the session.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.boxes import clip, nms
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.types import BACKGROUND
from mmpnet.evaluation.peers.family import Family, Resize, Signature, signature_of
from mmpnet.evaluation.peers.nanodet import NANODET
from mmpnet.evaluation.peers.rtmdet import RTMDET
from mmpnet.evaluation.peers.ultralytics import YOLO, YOLO_END_TO_END
from mmpnet.evaluation.peers.yolox import YOLOX

FAMILIES = (YOLOX, NANODET, RTMDET, YOLO, YOLO_END_TO_END)
"""The known families; no file fits two of them."""
EXPECTED_SHAPES = (
    "one input (1, 3, H, W) float32 and YOLOX's output (1, cells, 85), NanoDet's six, RTMDet's boxes (1, N, 5) and "
    "labels (1, N), or YOLO's (1, boxes, 6) or (1, 84, cells)"
)


def family_of(signature: Signature) -> Family | None:
    """The family whose files have this signature; None if there is none."""
    return next((family for family in FAMILIES if family.fits(signature)), None)


class PeerDetector:
    """One file of a known family. `class_names` are the requested ones that the family knows, index 0 is background.

    Raises: ContractError if the session has no known family, knows none of the requested classes, or does not accept
    input_hw; None stands for the file's own size, or for the family's default if the size is free.
    """

    def __init__(
        self,
        session: Any,
        *,
        name: str,
        wanted: Sequence[str],
        thresholds: Thresholds,
        input_hw: tuple[int, int] | None = None,
    ) -> None:
        signature = signature_of(session)
        family = None if signature is None else family_of(signature)
        if signature is None or family is None:
            inputs, outputs = (
                ", ".join(f"{one.name} {one.shape}" for one in some)
                for some in (session.get_inputs(), session.get_outputs())
            )
            raise ContractError(
                f"{name}: inputs {inputs}, outputs {outputs}; expected a file of mmp-export, or {EXPECTED_SHAPES}"
            )
        known = [one for one in wanted if one in family.class_names]
        if not known:
            raise ContractError(f"{name}: {_known_classes(family)}, but none of: {', '.join(wanted)}")
        self.name = name
        self.family = family
        self.has_free_input = signature.input_hw is None
        self.input_hw = _input_hw(name, family, signature, input_hw)
        self.class_names = (BACKGROUND, *known)
        self.thresholds = thresholds
        self._session = session
        self._input_name = session.get_inputs()[0].name
        self._indices = tuple(family.class_names.index(one) for one in known)

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        """Detect objects in one frame (H, W, 3) uint8 BGR."""
        return self.timed(frame_bgr)[0]

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, float]:
        """Detections in one frame, and the milliseconds that the network alone took."""
        fed = {self._input_name: self.family.pixels(frame_bgr, self.input_hw)}
        began = time.perf_counter()
        outputs = self._session.run(None, fed)
        infer_ms = (time.perf_counter() - began) * 1e3
        resize = Resize((frame_bgr.shape[0], frame_bgr.shape[1]), self.input_hw)
        try:
            found = [self.family.decode(outputs, resize, self.thresholds.conf, index) for index in self._indices]
        except ValueError as error:
            raise ContractError(f"{self.name} gives {error}") from error
        return self._selected(found, resize.frame_hw), infer_ms

    def _selected(self, found: Sequence[tuple[FloatArray, FloatArray]], frame_hw: tuple[int, int]) -> Detections:
        """The best boxes of all classes, after NMS if the family needs it."""
        boxes = clip(np.concatenate([boxes for boxes, _ in found]).astype(np.float32), frame_hw)
        scores = np.concatenate([scores for _, scores in found]).astype(np.float32)
        class_ids = np.repeat(np.arange(1, len(found) + 1), [len(scores) for _, scores in found])
        if self.family.needs_nms:
            kept = nms(boxes, scores, self.thresholds.iou, class_ids=class_ids)
        else:
            kept = np.argsort(-scores, kind="stable")
        kept = kept[: self.thresholds.max_det]
        return Detections(boxes[kept], scores[kept], class_ids[kept])


def _known_classes(family: Family) -> str:
    classes = "person" if family.class_names == ("person",) else f"{len(family.class_names)} classes of COCO"
    return f"is a {family.name} network, which knows {classes}"


def _input_hw(name: str, family: Family, signature: Signature, wanted: tuple[int, int] | None) -> tuple[int, int]:
    if signature.input_hw is not None:
        if wanted not in (None, signature.input_hw):
            height, width = signature.input_hw
            raise ContractError(f"{name}: its input is fixed to {height}x{width} px; leave the size out")
        return signature.input_hw
    chosen = wanted or family.default_hw
    if any(side < family.stride or side % family.stride for side in chosen):
        raise ContractError(
            f"{name}: got an input of {chosen[0]}x{chosen[1]} px; expected multiples of {family.stride} on both sides"
        )
    return chosen
