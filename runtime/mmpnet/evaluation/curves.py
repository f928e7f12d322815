"""Precision, recall and F1 along a ranking of detections, and the averages that PASCAL VOC made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmpnet.evaluation.matching import Ranking

Curve: TypeAlias = NDArray[np.float64]
RECALL_GRID: Curve = np.linspace(0, 1, 101)
"""Where curves of several classes are averaged; COCO's recall thresholds."""


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """After each detection of a ranking, best first: recall (N,), never falling, and precision (N,)."""

    recall: Curve
    precision: Curve

    def envelope(self) -> Curve:
        """The best precision at this recall or a higher one (N,), never rising: what average precision is made of."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    def precision_at(self, recalls: Curve) -> Curve:
        """The envelope at these recalls; 0 beyond the last that was reached."""
        reached = np.searchsorted(self.recall, recalls, side="left")
        return np.append(self.envelope(), 0.0)[reached]


@dataclass(frozen=True, slots=True)
class ConfidenceCurve:
    """What a score threshold gives: conf (K,) rising; precision (NaN where nothing is found), recall and F1 (K,)."""

    conf: Curve
    precision: Curve
    recall: Curve
    f1: Curve

    def best(self) -> tuple[float, float]:
        """The highest F1 and its threshold, the highest of equals; zeros if nothing is right at any."""
        if not len(self.f1) or self.f1.max() <= 0:
            return 0.0, 0.0
        row = len(self.f1) - 1 - int(self.f1[::-1].argmax())
        return float(self.f1[row]), float(self.conf[row])


def precision_recall(ranking: Ranking) -> PrecisionRecall:
    """Raises: ValueError if there is no box to find, which leaves recall undefined."""
    if not ranking.n_boxes:
        raise ValueError("precision and recall need at least one labeled box")
    hits = np.cumsum(ranking.correct)
    return PrecisionRecall(hits / ranking.n_boxes, hits / np.arange(1, len(hits) + 1))


def voc07_ap(ranking: Ranking) -> float | None:
    """VOC2007's average precision: mean of the best precision at recalls 0, 0.1, ..., 1; None without boxes.

    Everingham et al. 2010, The PASCAL Visual Object Classes Challenge.
    """
    if not ranking.n_boxes:
        return None
    hits = np.cumsum(ranking.correct)
    precision = np.append(precision_recall(ranking).envelope(), 0.0)
    # In whole boxes, hits >= tenths / 10 x n_boxes: as a float, a recall of 0.3 can miss the step at 0.3.
    needed = [-(-tenths * ranking.n_boxes // 10) for tenths in range(11)]
    return float(precision[np.searchsorted(hits, needed, side="left")].mean())


def voc_ap(ranking: Ranking) -> float | None:
    """Average precision from VOC2010 on: the area under the envelope, a step at every box found; None without boxes."""
    if not ranking.n_boxes:
        return None
    return float(precision_recall(ranking).envelope()[ranking.correct].sum() / ranking.n_boxes)


def mean_ap(values: Iterable[float | None]) -> float | None:
    """Mean over the classes that have boxes; None if none has."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def confidence_curve(ranking: Ranking, conf: Curve) -> ConfidenceCurve:
    """Counts of the detections of score `conf` or more, exactly, for each of the thresholds (K,).

    Raises: ValueError if there is no box to find.
    """
    if not ranking.n_boxes:
        raise ValueError("precision and recall need at least one labeled box")
    found = np.searchsorted(-ranking.score.astype(np.float64), -conf, side="right")
    hits = np.append(0, np.cumsum(ranking.correct))[found]
    with np.errstate(invalid="ignore"):
        precision = hits / found
    return ConfidenceCurve(conf, precision, hits / ranking.n_boxes, 2 * hits / (found + ranking.n_boxes))


def mean_confidence_curve(per_class: Sequence[Ranking]) -> ConfidenceCurve:
    """The mean over classes that have boxes, one threshold for all, at every score that occurs.

    Classes that find nothing at a threshold have no precision there and are left out of its mean.
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
