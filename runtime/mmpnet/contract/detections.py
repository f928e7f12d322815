"""Detections of one frame, and the selection of detections from candidate boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import VOTE_SCORE_POWER, decode_offsets, nms, vote_boxes
from mmpnet.contract.errors import MissingExtraError
from mmpnet.contract.letterbox import LetterboxTransform
from mmpnet.contract.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: corners x1, y1, x2, y2 in source-frame px, score in [0, 1], class id."""

    xyxy: tuple[float, float, float, float]
    score: float
    class_id: int


@dataclass(frozen=True, slots=True)
class Detections:
    """One frame's objects, best first: xyxy (N, 4) in source-frame px, score (N,) in [0, 1], class_id (N,).

    Iterating gives each as a Detection, and so does an index; a slice gives Detections.

    Raises: ValueError if the shapes disagree, a number is not finite, or the order is not best first.
    """

    xyxy: FloatArray
    score: FloatArray
    class_id: IntArray

    def __post_init__(self) -> None:
        if self.score.ndim != 1 or self.xyxy.shape != (len(self.score), 4) or self.class_id.shape != self.score.shape:
            raise ValueError(
                "xyxy must be (N, 4), score and class_id (N,), "
                f"got {self.xyxy.shape}, {self.score.shape} and {self.class_id.shape}"
            )
        if not np.isfinite(self.xyxy).all() or not np.isfinite(self.score).all():
            raise ValueError("boxes and scores must be finite numbers")
        if (self.score[1:] > self.score[:-1]).any():
            raise ValueError("detections must be sorted by score, best first")

    def __len__(self) -> int:
        return len(self.score)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Detection: ...

    @overload
    def __getitem__(self, rows: slice | NDArray[np.bool_] | IntArray) -> "Detections": ...

    def __getitem__(
        self, rows: int | np.integer[Any] | slice | NDArray[np.bool_] | IntArray
    ) -> "Detection | Detections":
        """The detection of a row; or those of a slice, of a mask (N,), or of increasing row numbers, so that the best
        stays first.

        Raises: IndexError if there is no such row.
        """
        if isinstance(rows, int | np.integer):
            x1, y1, x2, y2 = self.xyxy[rows].tolist()
            return Detection((x1, y1, x2, y2), float(self.score[rows]), int(self.class_id[rows]))
        return Detections(self.xyxy[rows], self.score[rows], self.class_id[rows])

    def __iter__(self) -> Iterator[Detection]:
        return (self[row] for row in range(len(self)))

    def to_supervision(self, class_names: Sequence[str] = ()) -> Any:
        """The same detections as supervision.Detections, which has annotators, zones and metrics.

        class_names: those of the detector, by class id; they become its `class_name`.

        Raises: MissingExtraError without the package supervision.
        """
        try:
            from supervision import Detections as SupervisionDetections
        except ImportError as error:
            raise MissingExtraError(
                f"to_supervision needs {error.name or 'supervision'}: pip install 'mmpnet[track]'"
            ) from error
        names: dict[str, Any] = {}
        if class_names:
            names["class_name"] = np.array([class_names[one] for one in self.class_id], str)
        return SupervisionDetections(
            xyxy=self.xyxy.copy(), confidence=self.score.copy(), class_id=self.class_id.astype(int), data=names
        )


def candidates_from_grid(
    grid: FloatArray, anchors_xyxy: FloatArray, *, num_classes: int, top_k: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Select the best anchors of one image's raw grid (C, S, R, rows, cols), as a graph with the head `boxes` does.

    anchors_xyxy (A, 4) is in the grid's order. Returns boxes (K, 4) in input px, scores (K,), best first, ids (K,).
    """
    raw = grid.reshape(len(grid), -1).astype(np.float32, copy=False)  # (C, A)
    logits = raw[:num_classes]
    exponentials = np.exp(logits - logits.max(axis=0))
    foreground = exponentials[1:] / exponentials.sum(axis=0)
    best = foreground.max(axis=0)
    likely = np.argpartition(-best, top_k - 1)[:top_k] if top_k < len(best) else np.arange(len(best))
    picked = likely[np.argsort(-best[likely], kind="stable")]
    boxes = decode_offsets(raw[num_classes:, picked].T, anchors_xyxy[picked])
    return boxes, best[picked], foreground[:, picked].argmax(axis=0) + 1


def select_detections(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    *,
    transform: LetterboxTransform,
    thresholds: Thresholds,
    vote_score_power: int = VOTE_SCORE_POWER,
) -> Detections:
    """Turn candidates (K, 4), (K,), (K,) in input px into detections in frame px.

    Applies the score threshold, NMS per class, the limit max_det, and box voting among all candidates.
    """
    confident = np.flatnonzero(scores >= thresholds.conf)
    best = nms(boxes_xyxy[confident], scores[confident], thresholds.iou, class_ids=class_ids[confident])
    kept = confident[best[: thresholds.max_det]]
    xyxy = vote_boxes(
        boxes_xyxy[kept],
        boxes_xyxy,
        scores,
        kept_ids=class_ids[kept],
        class_ids=class_ids,
        score_power=vote_score_power,
    )
    return Detections(
        xyxy=transform.to_frame(xyxy),
        score=scores[kept],
        class_id=class_ids[kept],
    )
