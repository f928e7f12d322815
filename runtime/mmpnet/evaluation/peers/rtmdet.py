"""RTMDet (Lyu et al. 2022) for people, exported by MMDeploy with NMS, for any input of multiples of 32 px."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.evaluation.peers.family import Family, Resize, Signature, planes, standardized, top_left_letterbox


def fits(signature: Signature) -> bool:
    """Whether the outputs are boxes (1, N, 5) and labels (1, N); MMDeploy states neither N nor the 5."""
    if [len(shape) for shape in signature.outputs] != [3, 2]:
        return False
    columns = signature.outputs[0][2]
    return not isinstance(columns, int) or columns == 5


def pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) BGR, letterboxed to the top left corner, padded with 114, then standardized."""
    return standardized(planes(top_left_letterbox(frame_bgr, input_hw)))


def decode(
    outputs: Sequence[NDArray[Any]], resize: Resize, conf: float, class_index: int
) -> tuple[FloatArray, FloatArray]:
    """The boxes of one class; the file gives them in input px."""
    boxes, labels = outputs[0][0], outputs[1][0]  # (N, 5), (N,)
    if boxes.shape[1:] != (5,):
        raise ValueError(f"boxes of shape {boxes.shape}; expected (N, 5), xyxy and score")
    likely = np.flatnonzero((labels == class_index) & (boxes[:, 4] >= conf))
    return boxes[likely, :4] / resize.scale, boxes[likely, 4]


RTMDET = Family("RTMDet", ("person",), fits, pixels, decode, needs_nms=False)
"""Files of 80 classes have the same outputs, so only class 0, person in both, is certain."""
