"""The self-test: one synthetic frame, and the detections that the exporting machine found in it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError, SelfTestError
from mmpnet.contract.records import ExpectedDetection, SelfTestRecord
from mmpnet.runtime.inference.detector import Detector

_FIGURES = 5
SELF_TEST_SEEDS = 128
"""Number of synthetic frames from which an export chooses the frame of its self-test."""


def describe_expected(n_expected: int) -> str:
    """Describe what a record with this many boxes tests."""
    if not n_expected:
        return "no box, so it only detects invented boxes: nothing in a synthetic frame reaches the fixed threshold"
    return f"{n_expected} {'box' if n_expected == 1 else 'boxes'}"


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """Differences between this device and the record; unmatched counts boxes that only one side has."""

    n_expected: int
    n_unmatched: int
    max_score_difference: float
    min_iou: float


def synthetic_frame(seed: int, frame_hw: tuple[int, int]) -> UInt8Array:
    """A gradient with upright figures (a disc on a rectangle) and noise, (H, W, 3) BGR; identical on every machine.

    It uses only integers and Python's own generator, as numpy's and OpenCV's results may change between versions.
    """
    draw = random.Random(seed).random
    height, width = frame_hw
    rows, cols = np.mgrid[:height, :width]
    frame = np.empty((height, width, 3), np.int64)
    for channel in range(3):
        base, down, across = (int(draw() * limit) for limit in (128, 96, 96))
        frame[..., channel] = base + rows * down // height + cols * across // width
    for _ in range(_FIGURES):
        tall = int(height * (0.25 + 0.5 * draw()))
        wide = max(tall * (25 + int(20 * draw())) // 100, 3)
        top, left = int((height - tall) * draw()), int((width - wide) * draw())
        radius = max(tall // 10, 1)
        body = (rows >= top + 2 * radius) & (rows < top + tall) & (cols >= left) & (cols < left + wide)
        legs = (rows >= top + tall * 11 // 20) & (abs(cols - left - wide // 2) < max(wide // 8, 1))
        head = (rows - top - radius) ** 2 + (cols - left - wide // 2) ** 2 <= radius**2
        for part in (body & ~legs, head):
            frame[part] = [int(256 * draw()) for _ in range(3)]
    frame += ((rows * 7919 + cols * 104729 + rows * cols * 31) % 17)[..., None] - 8
    return np.asarray(frame.clip(0, 255), np.uint8)


def self_test_frame_hw(input_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of the self-test's frame: larger than the input, and of another shape, so that the test also covers the
    resize and the padding of the letterbox."""
    return input_hw[0] * 4 // 3, input_hw[1] * 3 // 2


def record_self_test(
    detect_at: Callable[[float], Callable[[UInt8Array], Detections]],
    *,
    input_hw: tuple[int, int],
    conf: float | None,
    tolerances: tuple[float, float],
    seeds: int = SELF_TEST_SEEDS,
) -> SelfTestRecord:
    """Make the record from the seed with the highest best score, so that the test is meaningful.

    detect_at: makes a detector for a score threshold. conf None: half of that best score. tolerances: largest score
    difference, and smallest IoU. The score difference is at most a quarter of the best score, so that a missing box is
    noticed.
    """
    frame_hw = self_test_frame_hw(input_hw)
    lowest = detect_at(0.0 if conf is None else conf)
    best = {seed: lowest(synthetic_frame(seed, frame_hw)).score.max(initial=0.0) for seed in range(seeds)}
    seed = max(best, key=lambda one: float(best[one]))
    threshold = float(best[seed]) / 2 if conf is None else conf
    score_tolerance, min_iou = min(tolerances[0], float(best[seed]) / 4), tolerances[1]
    found = detect_at(threshold)(synthetic_frame(seed, frame_hw))
    expected = tuple(
        ExpectedDetection(
            xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            score=float(score),
            class_id=int(class_id),
        )
        for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True)
    )
    return SelfTestRecord(seed, frame_hw, threshold, expected, score_tolerance, min_iou)


def run_self_test(detector: Detector) -> SelfTestResult:
    """Run one inference on the record's frame and compare the result with the record.

    Raises: ContractError if the file has no record, SelfTestError if this device finds other boxes.
    """
    record = detector.metadata.self_test
    if record is None:
        raise ContractError(f"{detector.path}: has no self-test; export it again with mmp-export")
    tested = detector.with_thresholds(replace(detector.metadata.thresholds, conf=record.conf))
    result = compare(record, tested(synthetic_frame(record.seed, record.frame_hw)))
    if result.n_unmatched:
        raise SelfTestError(
            f"{detector.path}: self-test failed on {detector.provider}: {result.n_unmatched} of {result.n_expected} "
            f"boxes differ from those of the exporting machine (expected scores within "
            f"{record.max_score_difference:g}, IoU from {record.min_iou:g}); try --provider cpu, or another precision"
        )
    return result


def compare(record: SelfTestRecord, found: Detections) -> SelfTestResult:
    """Match the boxes of both sides; only boxes near the score threshold may be without a match."""
    xyxy = np.array([one.xyxy for one in record.expected], np.float32).reshape(-1, 4)
    score = np.array([one.score for one in record.expected], np.float32)
    class_id = np.array([one.class_id for one in record.expected], np.int64)
    iou = pairwise_iou(xyxy, found.xyxy)
    difference = np.abs(score[:, None] - found.score)
    partner = (
        (iou >= record.min_iou) & (difference <= record.max_score_difference) & (class_id[:, None] == found.class_id)
    )
    certain = record.conf + record.max_score_difference
    missing = (score >= certain) & ~partner.any(axis=1)
    extra = (found.score >= certain) & ~partner.any(axis=0)
    return SelfTestResult(
        n_expected=len(score),
        n_unmatched=int(missing.sum() + extra.sum()),
        max_score_difference=float(difference[partner].max(initial=0.0)),
        min_iou=float(iou[partner].min(initial=1.0)),
    )
