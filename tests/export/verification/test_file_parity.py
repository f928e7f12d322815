"""Comparison of the detections of a written file with those of its checkpoint."""

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ExportError
from mmpnet.contract.records import DetectionsRecord
from mmpnet.export.verification.file_parity import EXACT, apart, check

BOXES: list[list[float]] = [[0, 0, 40, 40], [100, 100, 140, 180]]


def detections(boxes: list[list[float]], scores: list[float], class_ids: list[int] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(class_ids or [1] * len(boxes), np.int64),
    )


def test_equal_detections_have_no_difference() -> None:
    one = detections(BOXES, [0.9, 0.5])
    assert apart([(one, one)], conf=0.1) == DetectionsRecord(4, 0, 0.0, 0.0)


def test_partners_are_matched_in_any_order() -> None:
    expected = detections(BOXES, [0.9, 0.5])
    found = detections([[101, 100, 140, 180], [0, 0, 40, 43]], [0.75, 0.65])
    record = apart([(found, expected)], conf=0.1)
    assert record.n_unmatched == 0
    assert record.max_score_difference == pytest.approx(0.25)
    assert record.max_box_difference_px == pytest.approx(3.0)


def test_a_box_is_matched_once_to_the_nearest() -> None:
    expected = detections([[0, 0, 40, 40], [6, 0, 46, 40]], [0.9, 0.8])
    found = detections([[5, 0, 45, 40]], [0.8])
    record = apart([(found, expected)], conf=0.1)
    assert record.n_unmatched == 1
    assert record.max_score_difference == pytest.approx(0.0)
    assert record.max_box_difference_px == pytest.approx(1.0)


def test_partners_share_a_class_and_low_scores_are_not_counted_as_unmatched() -> None:
    record = apart([(detections(BOXES, [0.9, 0.12], [1, 1]), detections(BOXES[:1], [0.9], [2]))], conf=0.1)
    assert record.n_detections == 3
    assert record.n_unmatched == 2


def test_no_detections_have_no_difference() -> None:
    assert apart([(detections([], []), detections([], []))], conf=0.1) == DetectionsRecord(0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    "record",
    [
        DetectionsRecord(100, 0, 2e-3, 0.0),
        DetectionsRecord(100, 0, 0.0, 0.3),
        DetectionsRecord(100, 6, 0.0, 0.0),
        DetectionsRecord(100, 0, float("nan"), 0.0),
    ],
)
def test_differences_above_the_bound_are_rejected(record: DetectionsRecord) -> None:
    check(DetectionsRecord(100, 5, 9e-4, 0.19), EXACT)
    with pytest.raises(ExportError, match="the file was not kept"):
        check(record, EXACT)
