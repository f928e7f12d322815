"""Average precisions equal those computed by hand, and curves have the right shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.evaluation.curves import (
    RECALL_GRID,
    confidence_curve,
    mean_ap,
    mean_confidence_curve,
    precision_recall,
    voc07_ap,
    voc_ap,
)
from mmpnet.evaluation.matching import Ranking


def ranking(correct: list[int], n_boxes: int, scores: list[float] | None = None) -> Ranking:
    """A ranking; scores fall evenly from 1 unless given."""
    score = np.linspace(1, 0.1, len(correct)) if scores is None else np.array(scores)
    return Ranking(score.astype(np.float32), np.array(correct, np.bool_), n_boxes)


@st.composite
def random_rankings(draw: st.DrawFn) -> Ranking:
    correct = draw(st.lists(st.booleans(), max_size=12))
    scores = sorted(draw(st.lists(st.integers(1, 9), min_size=len(correct), max_size=len(correct))), reverse=True)
    return ranking(list(map(int, correct)), max(sum(correct) + draw(st.integers(0, 4)), 1), [s / 10 for s in scores])


@pytest.mark.parametrize(
    ("correct", "n_boxes", "voc07", "area"),
    [
        ([1, 1], 2, 1.0, 1.0),
        ([0, 0], 2, 0.0, 0.0),
        ([], 2, 0.0, 0.0),
        ([1], 2, 6 / 11, 1 / 2),
        ([0, 1], 1, 1 / 2, 1 / 2),
        ([1, 0, 1], 2, (6 + 5 * 2 / 3) / 11, (1 + 2 / 3) / 2),
        ([0, 1, 1], 2, 2 / 3, 2 / 3),
        ([1, 1, 1] + [0] * 7, 10, 4 / 11, 3 / 10),
    ],
    ids=[
        "all found at once",
        "all wrong",
        "nothing found",
        "half of the boxes: recalls 0 to 0.5",
        "one wrong first",
        "one wrong between",
        "precision rises again",
        "a recall of exactly 0.3 counts at 0.3",
    ],
)
def test_average_precisions_by_hand(correct: list[int], n_boxes: int, voc07: float, area: float) -> None:
    assert voc07_ap(ranking(correct, n_boxes)) == pytest.approx(voc07)
    assert voc_ap(ranking(correct, n_boxes)) == pytest.approx(area)


def test_without_boxes_there_is_no_average_precision_and_the_mean_is_over_the_rest() -> None:
    assert voc07_ap(ranking([0, 0], 0)) is None
    assert voc_ap(ranking([], 0)) is None
    assert mean_ap([0.5, None, 1.0]) == pytest.approx(0.75)
    assert mean_ap([None]) is None
    for curve in (precision_recall, lambda one: confidence_curve(one, np.zeros(1))):
        with pytest.raises(ValueError, match="at least one labeled box"):
            curve(ranking([0], 0))


@given(random_rankings())
@settings(deadline=None)
def test_recall_never_falls_and_the_envelope_never_rises(one: Ranking) -> None:
    curve = precision_recall(one)
    assert (np.diff(curve.recall) >= 0).all()
    assert (np.diff(curve.envelope()) <= 0).all()
    assert (curve.envelope() >= curve.precision).all()
    assert (np.diff(curve.precision_at(RECALL_GRID)) <= 0).all()
    if len(curve.recall):
        assert curve.recall[-1] == pytest.approx(one.correct.sum() / one.n_boxes)


@given(random_rankings())
@settings(deadline=None)
def test_confidence_curves_are_counted_at_every_score(one: Ranking) -> None:
    curve = mean_confidence_curve([one])
    assert curve.conf.tolist() == sorted(set(one.score.astype(np.float64).tolist()))
    assert (np.diff(curve.recall) <= 0).all(), "recall never rises with the threshold"
    for row, conf in enumerate(curve.conf):
        shown = one.score >= conf
        hits, wrong = int(one.correct[shown].sum()), int((~one.correct[shown]).sum())
        missed = one.n_boxes - hits
        assert curve.precision[row] == pytest.approx(hits / (hits + wrong))
        assert curve.recall[row] == pytest.approx(hits / one.n_boxes)
        assert curve.f1[row] == pytest.approx(2 * hits / (2 * hits + wrong + missed))
    best, at = curve.best()
    assert best == pytest.approx(max(curve.f1.tolist(), default=0.0))
    if best > 0:
        assert curve.f1[curve.conf == at] == pytest.approx(best)


def test_the_best_threshold_is_the_highest_of_equals_and_keeps_tied_scores_together() -> None:
    # At 0.9, F1 is 2/3; from 0.5 on, F1 is 4/5. No threshold separates two detections of score 0.5.
    curve = mean_confidence_curve([ranking([1, 1, 0], 2, [0.9, 0.5, 0.5])])
    f1, conf = curve.best()
    assert f1 == pytest.approx(4 / 5)
    assert conf == pytest.approx(0.5)
    assert mean_confidence_curve([ranking([1, 0, 1, 0, 0], 2, [0.9, 0.8, 0.7, 0.6, 0.5])]).best()[1] == pytest.approx(
        0.7
    )


def test_nothing_right_or_nothing_found_has_no_best_threshold() -> None:
    assert mean_confidence_curve([ranking([0, 0], 1)]).best() == (0.0, 0.0)
    assert mean_confidence_curve([ranking([], 1)]).best() == (0.0, 0.0)
    assert mean_confidence_curve([]).best() == (0.0, 0.0)


def test_the_mean_over_classes_has_one_threshold_and_leaves_out_what_is_undefined() -> None:
    often, seldom = ranking([1, 0], 1, [0.8, 0.4]), ranking([1], 2, [0.6])
    curve = mean_confidence_curve([often, seldom, ranking([0], 0)])
    np.testing.assert_allclose(curve.conf, [0.4, 0.6, 0.8], atol=1e-6)
    np.testing.assert_allclose(curve.recall, [0.75, 0.75, 0.5])
    np.testing.assert_allclose(curve.precision, [0.75, 1.0, 1.0])
    np.testing.assert_allclose(curve.f1, [(2 / 3 + 2 / 3) / 2, (1 + 2 / 3) / 2, 0.5])
    assert curve.best() == pytest.approx((5 / 6, 0.6))
