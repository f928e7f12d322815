"""Decode the outputs of each exported head into detections."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.detections import Detections, candidates_from_grid, select_detections
from mmpnet.contract.errors import ContractError
from mmpnet.contract.letterbox import LetterboxTransform
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.thresholds import Thresholds

ReadHead: TypeAlias = Callable[[Sequence[NDArray[Any]], LetterboxTransform], Detections]
"""Turns the session's outputs for one image, in the order of HeadSpec.outputs and with batch dimension, into
Detections."""

CANDIDATES = 400
"""Number of anchors of a bare grid that reach NMS, as in a graph with the head `boxes`."""

MOST_CANDIDATES = 10_000
"""Limit on candidates; graphs of mmp-export give CANDIDATES."""


def output_names(metadata: ModelMetadata) -> list[str]:
    """Names of the outputs to fetch, in the order that the head's reader expects."""
    return [metadata.output_name(meaning) for meaning in metadata.head_spec.outputs]


def threshold_feed(metadata: ModelMetadata, thresholds: Thresholds, *, source: str) -> dict[str, NDArray[Any]]:
    """Additional inputs of the graph: the thresholds, if NMS is in the graph and they can be overridden.

    Raises: ContractError if the graph has other, fixed thresholds.
    """
    nms = metadata.nms
    if nms is None or thresholds == metadata.thresholds:
        return {}
    if not nms.overridable:
        raise ContractError(
            f"{source}: its thresholds are fixed to conf {metadata.default_conf:g}, iou {metadata.default_iou:g} and "
            f"max-det {metadata.default_max_det}; leave --conf, --iou and --max-det out, or export it without --frozen"
        )
    return {
        nms.conf: np.array([thresholds.conf], np.float32),
        nms.iou: np.array([thresholds.iou], np.float32),
        nms.max_det: np.array([thresholds.max_det], np.int64),
    }


def head_reader(metadata: ModelMetadata, thresholds: Thresholds) -> ReadHead:
    """Returns a function that does what this file's head leaves to the caller: decoding, thresholds, NMS or nothing."""
    if metadata.head_spec.suppresses:
        return _read_final
    select = partial(select_detections, thresholds=thresholds, vote_score_power=metadata.vote_score_power)
    if metadata.head_spec.decodes:
        return lambda outputs, transform: select(outputs[0][0], outputs[1][0], outputs[2][0], transform=transform)
    anchors_xyxy = metadata.anchors.spec().boxes_xyxy(metadata.input.size_hw)

    def read_grid(outputs: Sequence[NDArray[Any]], transform: LetterboxTransform) -> Detections:
        num_classes = len(metadata.class_names)
        best = candidates_from_grid(outputs[0][0], anchors_xyxy, num_classes=num_classes, top_k=CANDIDATES)
        return select(*best, transform=transform)

    return read_grid


def _read_final(outputs: Sequence[NDArray[Any]], transform: LetterboxTransform) -> Detections:
    rows = outputs[0][0][: int(outputs[1][0])]
    return Detections(xyxy=transform.to_frame(rows[:, :4]), score=rows[:, 4], class_id=rows[:, 5].astype(np.int64))


def check_classes(found: Detections, *, class_count: int, source: str) -> None:
    """Raises: ContractError for class ids that the file has no names for."""
    if ((found.class_id < 1) | (found.class_id >= class_count)).any():
        raise ContractError(f"{source}: gives class ids without a name; export it again with mmp-export")


def check_candidates(outputs: Sequence[NDArray[Any]], *, source: str) -> None:
    """Raises: ContractError for more candidates than NMS, which compares all pairs, has memory for."""
    most = max((output.shape[1] for output in outputs if output.ndim == 3 and output.shape[2] == 4), default=0)
    if most > MOST_CANDIDATES:
        raise ContractError(
            f"{source}: gives {most} boxes per image, expected {MOST_CANDIDATES} at most; export it again"
        )
