"""Error analysis: false positives and missed boxes, each with its cause and its nearest match."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.boxes import area, pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import MATCH_IOU, Evaluation
from mmpnet.evaluation.matching import Matches, match_coco

NEAR_IOU = 0.1
"""Below this IoU, two boxes count as unrelated (Hoiem et al. 2012, Diagnosing error in object detectors)."""
PER_IMAGE = 2

Kind: TypeAlias = Literal["false positive", "miss"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A false positive, or a labeled box without detection; xyxy (4,) in px of the stored image.

    best_iou: with the closest labeled box of its class (false positive) or the closest detection of any score (miss).
    score: its own (false positive) or the closest detection's (miss), None if nothing overlaps. index: of the image in
    the dataset.
    """

    kind: Kind
    reason: str
    index: int
    xyxy: FloatArray
    class_id: int
    score: float | None
    best_iou: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    """All mistakes at one score threshold, worst first: highest score for false positives, largest box for misses."""

    conf: float
    hits: int
    false_positives: tuple[Mistake, ...]
    misses: tuple[Mistake, ...]

    def of(self, kind: Kind) -> tuple[Mistake, ...]:
        return self.false_positives if kind == "false positive" else self.misses

    def worst(self, kind: Kind, count: int) -> list[Mistake]:
        """The first `count`, but at most PER_IMAGE of one image, so that one scene does not hide the rest."""
        seen: Counter[int] = Counter()
        chosen: list[Mistake] = []
        for mistake in self.of(kind):
            seen[mistake.index] += 1
            if seen[mistake.index] <= PER_IMAGE and len(chosen) < count:
                chosen.append(mistake)
        return chosen

    def reasons(self, kind: Kind) -> dict[str, int]:
        """Number of mistakes per reason, most frequent first."""
        return dict(Counter(mistake.reason for mistake in self.of(kind)).most_common())


def find_mistakes(dataset: Dataset, evaluation: Evaluation, *, conf: float) -> Mistakes:
    """Every mistake that a user of the detector sees at this score threshold; matched by COCO's rules at IoU 0.5.

    Classes that the model does not know are ignored.
    """
    measured = {one.class_id for one in evaluation.classes}
    hits = 0
    wrong: list[Mistake] = []
    missed: list[Mistake] = []
    for index, (image, detections) in enumerate(zip(dataset.images, evaluation.found, strict=True)):
        answer = _Answer(index, image, detections, match_coco(detections, image, MATCH_IOU))
        hits += int((answer.matches.correct & (detections.score >= conf)).sum())
        wrong.extend(_false_positives(answer, conf))
        missed.extend(mistake for mistake in _misses(answer, conf) if mistake.class_id in measured)
    return Mistakes(
        conf=conf,
        hits=hits,
        false_positives=tuple(sorted(wrong, key=lambda mistake: -(mistake.score or 0.0))),
        misses=tuple(sorted(missed, key=lambda mistake: -float(area(mistake.xyxy)))),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    index: int
    image: LabeledImage
    detections: Detections
    matches: Matches


def _false_positives(answer: _Answer, conf: float) -> Iterator[Mistake]:
    detections, matches = answer.detections, answer.matches
    for row in np.flatnonzero(~matches.correct & ~matches.ignored & (detections.score >= conf)):
        yield Mistake(
            kind="false positive",
            reason=_why_wrong(float(matches.best_iou[row])),
            index=answer.index,
            xyxy=detections.xyxy[row],
            class_id=int(detections.class_id[row]),
            score=float(detections.score[row]),
            best_iou=float(matches.best_iou[row]),
        )


def _misses(answer: _Answer, conf: float) -> Iterator[Mistake]:
    image, detections, matches = answer.image, answer.detections, answer.matches
    found = matches.label[matches.correct & (detections.score >= conf)]
    iou = pairwise_iou(image.boxes_xyxy, detections.xyxy)  # (M, N)
    iou = np.where(image.class_ids[:, None] == detections.class_id, iou, 0)
    for row in np.setdiff1d(np.flatnonzero(~image.crowd), found):
        closest = int(iou[row].argmax()) if len(detections) else -1
        best_iou = float(iou[row, closest]) if len(detections) else 0.0
        score = float(detections.score[closest]) if best_iou > 0 else None
        yield Mistake(
            kind="miss",
            reason=_why_missed(best_iou, score, conf),
            index=answer.index,
            xyxy=image.boxes_xyxy[row],
            class_id=int(image.class_ids[row]),
            score=score,
            best_iou=best_iou,
        )


def _why_wrong(best_iou: float) -> str:
    if best_iou < NEAR_IOU:
        return "background"
    return "localization" if best_iou < MATCH_IOU else "duplicate"


def _why_missed(best_iou: float, score: float | None, conf: float) -> str:
    if score is None or best_iou < NEAR_IOU:
        return "not detected"
    if best_iou < MATCH_IOU:
        return "localization"
    # A detection fits this box, but is not shown or is matched with another box.
    return "low score" if score < conf else "matched elsewhere"
