"""Precision, recall and F1 over a ranking of detections, and PASCAL VOC's average precisions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.evaluation.matching import Ranking

Curve: TypeAlias = NDArray[np.float64]
RECALL_GRID: Curve = np.linspace(0, 1, 101)
"""COCO's recall thresholds, at which curves of several classes are averaged."""


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Recall (N,), never decreasing, and precision (N,) after each detection of a ranking, best first."""

    recall: Curve
    precision: Curve

    def envelope(self) -> Curve:
        """The highest precision at this recall or above (N,), never increasing: the basis of average precision."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    def precision_at(self, recalls: Curve) -> Curve:
        """The envelope at these recalls; 0 above the highest recall reached."""
        reached = np.searchsorted(self.recall, recalls, side="left")
        return np.append(self.envelope(), 0.0)[reached]


@dataclass(frozen=True, slots=True)
class ConfidenceCurve:
    """Precision, recall and F1 (K,) at score thresholds conf (K,), increasing; precision is NaN without detections."""

    conf: Curve
    precision: Curve
    recall: Curve
    f1: Curve

    def best(self) -> tuple[float, float]:
        """The highest F1 and its threshold, of several the highest; zeros if no detection is correct."""
        if not len(self.f1) or self.f1.max() <= 0:
            return 0.0, 0.0
        row = len(self.f1) - 1 - int(self.f1[::-1].argmax())
        return float(self.f1[row]), float(self.conf[row])


def precision_recall(ranking: Ranking) -> PrecisionRecall:
    """Raises: ValueError if there are no labeled boxes, as recall is then undefined."""
    if not ranking.n_boxes:
        raise ValueError("precision and recall need at least one labeled box")
    hits = np.cumsum(ranking.correct)
    return PrecisionRecall(hits / ranking.n_boxes, hits / np.arange(1, len(hits) + 1))


def voc07_ap(ranking: Ranking) -> float | None:
    """VOC2007's average precision: mean of the envelope at recalls 0, 0.1, ..., 1; None without boxes.

    Everingham et al. 2010, The PASCAL Visual Object Classes Challenge.
    """
    if not ranking.n_boxes:
        return None
    hits = np.cumsum(ranking.correct)
    precision = np.append(precision_recall(ranking).envelope(), 0.0)
    # Compared as whole numbers of boxes, hits >= tenths / 10 x n_boxes: in floats, recall 0.3 can miss the step at 0.3.
    needed = [-(-tenths * ranking.n_boxes // 10) for tenths in range(11)]
    return float(precision[np.searchsorted(hits, needed, side="left")].mean())


def voc_ap(ranking: Ranking) -> float | None:
    """Average precision since VOC2010: the area under the envelope; None without boxes."""
    if not ranking.n_boxes:
        return None
    return float(precision_recall(ranking).envelope()[ranking.correct].sum() / ranking.n_boxes)


def mean_ap(values: Iterable[float | None]) -> float | None:
    """Mean over the classes with boxes; None if no class has any."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def confidence_curve(ranking: Ranking, conf: Curve) -> ConfidenceCurve:
    """Exact counts of the detections with score `conf` or more, for each threshold (K,).

    Raises: ValueError if there are no labeled boxes.
    """
    if not ranking.n_boxes:
        raise ValueError("precision and recall need at least one labeled box")
    found = np.searchsorted(-ranking.score.astype(np.float64), -conf, side="right")
    hits = np.append(0, np.cumsum(ranking.correct))[found]
    with np.errstate(invalid="ignore"):
        precision = hits / found
    return ConfidenceCurve(conf, precision, hits / ranking.n_boxes, 2 * hits / (found + ranking.n_boxes))


def mean_confidence_curve(per_class: Sequence[Ranking]) -> ConfidenceCurve:
    """The mean over classes with boxes, at every score that occurs; all classes use the same threshold.

    Classes without detections at a threshold have no precision there and do not count in its mean.
    """
    measurable = [ranking for ranking in per_class if ranking.n_boxes]
    scores = [ranking.score.astype(np.float64) for ranking in measurable]
    conf = np.unique(np.concatenate([np.zeros(0), *scores]))
    if not len(conf):
        return ConfidenceCurve(conf, conf, conf, conf)
    curves = [confidence_curve(ranking, conf) for ranking in measurable]
    precision = np.stack([curve.precision for curve in curves])  # (classes, K)
    answered = np.isfinite(precision)
    return ConfidenceCurve(
        conf,
        np.where(answered, precision, 0).sum(axis=0) / answered.sum(axis=0),
        np.mean([curve.recall for curve in curves], axis=0),
        np.mean([curve.f1 for curve in curves], axis=0),
    )
