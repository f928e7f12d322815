"""Matching equals pycocotools' and PASCAL VOC's, also with ties, crowds and several classes."""

import contextlib
import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.coco import accumulated, coco_results, twelve_numbers
from mmpnet.evaluation.curves import RECALL_GRID, precision_recall, voc07_ap, voc_ap
from mmpnet.evaluation.matching import NO_LABEL, Ranking, match_coco, match_voc, rankings

CLASSES = ("background", "person", "dog")
Box = tuple[int, int, int, int]
Label = tuple[Box, int, bool]
Answer = tuple[Box, int, int]
"""Box, class, and score in tenths: few scores, so that ties are common."""

PERSON: Label = ((0, 0, 10, 10), 1, False)
NEIGHBOR: Label = ((4, 0, 14, 10), 1, False)

boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
labels = st.lists(st.tuples(boxes, st.integers(1, 2), st.sampled_from([False, False, False, True])), max_size=5)
answers = st.lists(st.tuples(boxes, st.integers(1, 2), st.integers(1, 9)), max_size=6)
scenes = st.lists(st.tuples(labels, answers), min_size=1, max_size=4)


def image_of(entries: list[Label]) -> LabeledImage:
    xyxy = np.array([box for box, _, _ in entries], np.float32).reshape(-1, 4)
    return LabeledImage(
        path=Path("nowhere.png"),
        image_hw=(12, 12),
        boxes_xyxy=xyxy,
        class_ids=np.array([class_id for _, class_id, _ in entries], np.int64),
        areas_px2=(xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1),
        crowd=np.array([crowd for _, _, crowd in entries], np.bool_),
        scores=np.ones(len(entries), np.float32),
    )


def detections_of(entries: list[Answer]) -> Detections:
    ordered = sorted(entries, key=lambda entry: -entry[2])
    return Detections(
        np.array([box for box, _, _ in ordered], np.float32).reshape(-1, 4),
        np.array([tenths / 10 for _, _, tenths in ordered], np.float32),
        np.array([class_id for _, class_id, _ in ordered], np.int64),
    )


def iou_of(a: Box, b: Box) -> Fraction:
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return Fraction(width * height, sum(areas) - width * height)


def voc_by_the_rules(scene: list[tuple[list[Label], list[Answer]]], class_id: int) -> tuple[list[bool], int]:
    """Correct or not for each detection that counts, best first, and the number of boxes, one detection at a time."""
    queue = []
    for index, (_, found) in enumerate(scene):
        for row, (box, answered, tenths) in enumerate(sorted(found, key=lambda entry: -entry[2])):
            if answered == class_id:
                queue.append((-tenths, index, row, box))
    taken: set[tuple[int, int]] = set()
    correct = []
    for _, index, _, box in sorted(queue):
        best, best_iou = -1, Fraction(0)
        for row, (labeled, its_class, _) in enumerate(scene[index][0]):
            if its_class == class_id and iou_of(box, labeled) > best_iou:
                best, best_iou = row, iou_of(box, labeled)
        if best_iou < Fraction(1, 2):
            correct.append(False)
        elif not scene[index][0][best][2]:
            correct.append((index, best) not in taken)
            taken.add((index, best))
    return correct, sum(its_class == class_id and not crowd for found, _ in scene for _, its_class, crowd in found)


def ap_by_the_rules(correct: list[bool], n_boxes: int, recalls: list[Fraction] | None) -> Fraction:
    """Mean of the best precision at each recall or above; without recalls, the area under that function."""
    points = []
    for count in range(1, len(correct) + 1):
        points.append((Fraction(sum(correct[:count]), n_boxes), Fraction(sum(correct[:count]), count)))

    def best(recall: Fraction) -> Fraction:
        return max((precision for reached, precision in points if reached >= recall), default=Fraction(0))

    if recalls is not None:
        return sum((best(recall) for recall in recalls), Fraction(0)) / len(recalls)
    return sum((best(Fraction(box, n_boxes)) for box in range(1, n_boxes + 1)), Fraction(0)) / n_boxes


@given(scenes)
@settings(max_examples=300, deadline=None)
def test_voc_is_what_its_rules_say(scene: list[tuple[list[Label], list[Answer]]]) -> None:
    images = [image_of(labeled) for labeled, _ in scene]
    matches = [match_voc(detections_of(found), one, 0.5) for (_, found), one in zip(scene, images, strict=True)]
    for class_id, ranking in rankings(matches, images, [1, 2]).items():
        correct, n_boxes = voc_by_the_rules(scene, class_id)
        assert (ranking.correct.tolist(), ranking.n_boxes) == (correct, n_boxes)
        if not n_boxes:
            assert voc07_ap(ranking) is None
            assert voc_ap(ranking) is None
            continue
        tenths = [Fraction(tenth, 10) for tenth in range(11)]
        assert voc07_ap(ranking) == pytest.approx(float(ap_by_the_rules(correct, n_boxes, tenths)))
        assert voc_ap(ranking) == pytest.approx(float(ap_by_the_rules(correct, n_boxes, None)))


@given(scenes)
@example([([PERSON, NEIGHBOR], [((2, 0, 12, 10), 1, 9), ((6, 0, 16, 10), 1, 8)])])  # equally near to both
@settings(max_examples=150, deadline=None)
def test_coco_matching_is_that_of_pycocotools(scene: list[tuple[list[Label], list[Answer]]]) -> None:
    images = [image_of(labeled) for labeled, _ in scene]
    found = [detections_of(answered) for _, answered in scene]
    dataset = Dataset(Path("nowhere.json"), "nowhere", CLASSES, tuple(images), "")
    results = [entry for image_id, one in enumerate(found, start=1) for entry in coco_results(image_id, one)]
    with contextlib.redirect_stdout(io.StringIO()):
        expected = twelve_numbers(accumulated(dataset, [1, 2], results))
    for iou, name in ((0.5, "AP50"), (0.75, "AP75")):
        matches = [match_coco(one, image, iou) for one, image in zip(found, images, strict=True)]
        ranked = [one for one in rankings(matches, images, [1, 2]).values() if one.n_boxes]
        precisions = [precision_recall(one).precision_at(RECALL_GRID).mean() for one in ranked]
        assert (np.mean(precisions) if precisions else None) == pytest.approx(expected[name], abs=1e-9)


def test_a_second_detection_takes_the_free_neighbor_in_coco_and_is_wrong_in_voc() -> None:
    image = image_of([PERSON, NEIGHBOR])
    found = detections_of([((0, 0, 10, 10), 1, 9), ((1, 0, 11, 10), 1, 8)])
    assert match_coco(found, image, 0.5).label.tolist() == [0, 1]
    assert match_voc(found, image, 0.5).label.tolist() == [0, NO_LABEL]


@pytest.mark.parametrize("match", [match_coco, match_voc])
def test_the_better_score_wins_the_box_though_it_fits_less(match: Callable[..., object]) -> None:
    found = detections_of([((0, 0, 10, 10), 1, 5), ((0, 0, 10, 6), 1, 9)])
    matches = match(found, image_of([PERSON]), 0.5)
    assert matches.label.tolist() == [0, NO_LABEL]  # type: ignore[attr-defined]
    np.testing.assert_allclose(matches.best_iou, np.array([0.6, 1.0]))  # type: ignore[attr-defined]


def test_a_small_box_in_a_crowd_is_ignored_by_coco_only() -> None:
    image = image_of([((0, 0, 10, 10), 1, True)])
    found = detections_of([((1, 1, 4, 4), 1, 9), ((8, 8, 14, 14), 1, 8), ((1, 1, 4, 4), 2, 7)])
    assert match_coco(found, image, 0.5).ignored.tolist() == [True, False, False]
    assert not match_voc(found, image, 0.5).ignored.any()
    difficult = match_voc(detections_of([((0, 0, 10, 9), 1, 9)]), image, 0.5)
    assert (difficult.ignored.tolist(), difficult.label.tolist()) == ([True], [NO_LABEL])


@pytest.mark.parametrize("match", [match_coco, match_voc])
def test_images_without_labels_or_without_detections(match: Callable[..., object]) -> None:
    nothing = match(detections_of([]), image_of([PERSON]), 0.5)
    assert len(nothing.label) == 0  # type: ignore[attr-defined]
    wrong = match(detections_of([((0, 0, 5, 5), 1, 9)]), image_of([]), 0.5)
    assert wrong.label.tolist() == [NO_LABEL]  # type: ignore[attr-defined]
    assert wrong.best_iou.tolist() == [0.0]  # type: ignore[attr-defined]


def test_a_ranking_mixes_the_images_by_score_and_keeps_classes_apart() -> None:
    images = [image_of([PERSON]), image_of([PERSON, ((0, 0, 10, 10), 2, False)]), image_of([])]
    found = [
        detections_of([((0, 0, 10, 10), 1, 4)]),
        detections_of([((0, 0, 10, 10), 1, 6), ((0, 0, 10, 10), 2, 9)]),
        detections_of([((0, 0, 10, 10), 1, 5)]),
    ]
    matches = [match_coco(one, image, 0.5) for one, image in zip(found, images, strict=True)]
    ranked = rankings(matches, images, [1, 2])
    person: Ranking = ranked[1]
    np.testing.assert_allclose(person.score, [0.6, 0.5, 0.4])
    assert person.correct.tolist() == [True, False, True]
    assert [one.n_boxes for one in ranked.values()] == [2, 1]
    assert ranked[2].correct.tolist() == [True]
