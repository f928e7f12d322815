"""Mistakes are found, classified, and shown on the sheet."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.error_analysis import PER_IMAGE, find_mistakes
from mmpnet.evaluation.evaluate import Evaluation, evaluate
from mmpnet.evaluation.report.contact_sheet import (
    DETECTED_BGR,
    LABELED_BGR,
    SHEET_MISTAKES,
    TILE_HW,
    captions,
    mistake_tile,
    write_sheet,
)
from mmpnet.evaluation.report.inputs import Measured

NAMES = ("background", "person", "dog")
IMAGE_HW = (120, 160)
Boxes = list[tuple[float, float, float, float]]


def dataset_of(folder: Path, labeled: list[Boxes], *, class_id: int = 1) -> Dataset:
    """Gray images, each of its own brightness, with these boxes."""
    images = []
    for index, boxes in enumerate(labeled):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), np.full((*IMAGE_HW, 3), 40 + index, np.uint8))
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        ids = np.full(len(boxes), class_id, np.int64)
        areas = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
        images.append(
            LabeledImage(
                path, IMAGE_HW, xyxy, ids, areas, np.zeros(len(boxes), np.bool_), np.ones(len(boxes), np.float32)
            )
        )
    return Dataset(folder / "val.json", "gray", NAMES, tuple(images), "f" * 64)


def evaluation_of(dataset: Dataset, found: list[list[tuple[tuple[float, float, float, float], float]]]) -> Evaluation:
    def detect(frame_bgr: UInt8Array) -> Detections:
        answers = sorted(found[int(frame_bgr[0, 0, 0]) - 40], key=lambda entry: -entry[1])
        return Detections(
            np.array([box for box, _ in answers], np.float32).reshape(-1, 4),
            np.array([score for _, score in answers], np.float32),
            np.ones(len(answers), np.int64),
        )

    return evaluate(detect, dataset, NAMES)


BOX, FAR, LOOSE = (10.0, 10.0, 50.0, 90.0), (100.0, 10.0, 140.0, 90.0), (10.0, 10.0, 50.0, 45.0)


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """An image with a correct detection, and one for each reason of false positives and misses."""
    labeled: list[Boxes] = [[BOX], [BOX], [BOX], [BOX, FAR], [BOX, (12.0, 12.0, 52.0, 92.0)], []]
    found = [
        [(BOX, 0.9), ((12.0, 12.0, 52.0, 92.0), 0.8)],
        [(LOOSE, 0.7)],
        [(BOX, 0.1)],
        [(BOX, 0.95)],
        [((11.0, 11.0, 51.0, 91.0), 0.85)],
        [(FAR, 0.6)],
    ]
    dataset = dataset_of(tmp_path, labeled)
    return Measured(dataset, evaluation_of(dataset, found), "a protocol")


def test_mistakes_are_distinguished(measured: Measured) -> None:
    mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=0.5)
    assert mistakes.hits == 3
    assert [(m.index, m.reason) for m in mistakes.false_positives] == [
        (0, "duplicate"),
        (1, "localization"),
        (5, "background"),
    ]
    assert [m.score for m in mistakes.false_positives] == pytest.approx([0.8, 0.7, 0.6])
    assert [m.best_iou for m in mistakes.false_positives] == pytest.approx([78 * 38 / (2 * 3200 - 78 * 38), 0.4375, 0])
    assert {(m.index, m.reason) for m in mistakes.misses} == {
        (1, "localization"),
        (2, "low score"),
        (3, "not detected"),
        (4, "matched elsewhere"),
    }
    by_index = {m.index: m for m in mistakes.misses}
    assert (by_index[2].score, by_index[2].best_iou) == pytest.approx((0.1, 1.0))
    assert (by_index[3].score, by_index[3].best_iou) == (None, 0.0)
    assert mistakes.reasons("false positive") == {"duplicate": 1, "localization": 1, "background": 1}


def test_a_lower_threshold_turns_misses_into_hits(measured: Measured) -> None:
    mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=0.05)
    assert mistakes.hits == 4
    assert 2 not in {m.index for m in mistakes.misses}


def test_the_worst_come_first_and_no_image_takes_the_whole_sheet(tmp_path: Path) -> None:
    small: Boxes = [(x, 5.0, x + 8, 15.0) for x in (0.0, 20.0, 40.0, 60.0)]
    dataset = dataset_of(tmp_path, [small, [BOX], [FAR]])
    evaluation = evaluation_of(dataset, [[], [], []])
    mistakes = find_mistakes(dataset, evaluation, conf=0.0)
    assert len(mistakes.misses) == 6
    assert {m.index for m in mistakes.misses[:2]} == {1, 2}, "the largest boxes"
    assert [m.index for m in mistakes.worst("miss", 12)] == [1, 2, *[0] * PER_IMAGE]
    assert len(mistakes.worst("miss", 1)) == 1


def test_a_class_that_the_model_does_not_know_is_not_missed(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [[BOX]])
    dogs = dataset_of(tmp_path, [[BOX]], class_id=2)
    evaluation = evaluation_of(dataset, [[(BOX, 0.9)]])
    known = replace(evaluation, classes=evaluation.classes[:1])
    assert find_mistakes(dogs, known, conf=0.5).misses == ()


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_sheet_is_made_for_no_one_and_many_mistakes(tmp_path: Path, count: int) -> None:
    labeled: list[Boxes] = [[BOX]] * (count + 1)
    dataset = dataset_of(tmp_path, labeled)
    evaluation = evaluation_of(dataset, [[(BOX, 0.9)], *[[(FAR, 0.8)]] * count])
    mistakes = find_mistakes(dataset, evaluation, conf=0.5)
    assert (len(mistakes.false_positives), len(mistakes.misses)) == (count, count)
    write_sheet(tmp_path / "sheet.png", mistakes, dataset, evaluation)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    rows = -(-min(count, SHEET_MISTAKES) // 4)
    assert abs(sheet.shape[0] - 2 * rows * (TILE_HW[0] + 56)) <= 120, "headings besides the tiles"
    assert sheet.shape[1] > 4 * TILE_HW[1]


def painted(tile: UInt8Array, bgr: tuple[int, int, int]) -> int:
    """Whether pixels are nearly this color, as smooth lines mix colors."""
    return int((abs(tile.astype(int) - bgr) <= 20).all(axis=2).sum())


def test_a_tile_shows_both_boxes_and_the_mistake_bold(measured: Measured) -> None:
    mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=0.5)
    loose = mistakes.false_positives[1]
    tile = mistake_tile(loose, measured.dataset, measured.evaluation, conf=0.5)
    assert tile.shape == (*TILE_HW, 3)
    assert painted(tile, DETECTED_BGR) > 3 * painted(tile, LABELED_BGR) > 0, "the larger box has the thin lines"
    miss = next(m for m in mistakes.misses if m.reason == "not detected")
    assert painted(mistake_tile(miss, measured.dataset, measured.evaluation, conf=0.5), DETECTED_BGR)
    alone = mistake_tile(miss, measured.dataset, measured.evaluation, conf=0.99)
    assert not painted(alone, DETECTED_BGR), "what is below the threshold is not shown"


@pytest.mark.parametrize("box", [(0.0, 0.0, 4.0, 4.0), (150.0, 110.0, 160.0, 120.0), (0.0, 0.0, 160.0, 120.0)])
def test_a_tile_of_a_box_at_the_edge_has_its_box_in_place(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    dataset = dataset_of(tmp_path, [[box]])
    x1, y1, x2, y2 = map(int, box)
    frame = np.full((*IMAGE_HW, 3), 40, np.uint8)
    frame[y1:y2, x1:x2] = 200
    evaluation = evaluation_of(dataset, [[]])
    cv2.imwrite(str(tmp_path / "0.png"), frame)
    (miss,) = find_mistakes(dataset, evaluation, conf=0.0).misses
    tile = mistake_tile(miss, dataset, evaluation, conf=0.0)
    drawn = np.argwhere((tile == np.array(LABELED_BGR)).all(axis=2))
    bright = np.argwhere((tile > 150).all(axis=2) & ~(tile == np.array(LABELED_BGR)).all(axis=2))
    inside = (bright >= drawn.min(axis=0) - 4) & (bright <= drawn.max(axis=0) + 4)
    assert inside.all(), "the bright patch lies in the box that is drawn for it"
    assert len(bright) > 50


def test_captions_say_what_and_where(measured: Measured) -> None:
    mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=0.5)
    loose = mistakes.false_positives[1]
    assert captions(loose, measured.dataset.images[1]) == ("0.70 localization, best IoU 0.44", "40x35 px in 1.png")
    by_reason = {m.reason: captions(m, measured.dataset.images[m.index])[0] for m in mistakes.misses}
    assert by_reason["not detected"] == "missed: not detected"
    assert by_reason["low score"] == "missed: low score, best IoU 1.00 at 0.10"


def test_a_sheet_that_cannot_be_written_is_an_output_error(measured: Measured, tmp_path: Path) -> None:
    mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=0.5)
    with pytest.raises(OutputError):
        write_sheet(tmp_path / "absent" / "sheet.png", mistakes, measured.dataset, measured.evaluation)
