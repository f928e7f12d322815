"""The twelve numbers equal pycocotools', whatever the ids in the file; the quasi IoU is computed by hand."""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError, MissingExtraError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import evaluate, measure, quasi_iou, require_measurable

CATEGORY_IDS = {"person": 90, "dog": 3}
MODEL_NAMES = ("background", "dog", "person")
"""Another order than that of the file."""

Found = tuple[list[float], float, int]


@dataclass(frozen=True)
class Scene:
    """A labeled file and a detector's results for its images; all pixels of image i have the value i."""

    path: Path
    found: list[list[Found]]

    def detect(self, frame_bgr: UInt8Array) -> Detections:
        return as_detections(self.found[int(frame_bgr[0, 0, 0])])


def as_detections(found: list[Found]) -> Detections:
    """(xyxy, score, class id) in any order -> Detections."""
    ordered = sorted(found, key=lambda entry: -entry[1])
    return Detections(
        np.array([xyxy for xyxy, _, _ in ordered], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in ordered], np.float32),
        np.array([class_id for _, _, class_id in ordered], np.int64),
    )


def write_labels(
    folder: Path, labels: list[list[dict[str, Any]]], *, category_ids: dict[str, int] = CATEGORY_IDS
) -> Path:
    """A COCO file of 320x240 px images with unordered ids; labels: per image, entries without ids."""
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, entries in enumerate(labels):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), np.full((240, 320, 3), index, np.uint8))
        image_id = 1000 - 37 * index
        images.append({"id": image_id, "file_name": f"{index}.png", "width": 320, "height": 240})
        for entry in entries:
            annotations.append({"iscrowd": 0, **entry, "id": len(annotations) + 1, "image_id": image_id})
    categories = [{"id": category_id, "name": name} for name, category_id in category_ids.items()]
    path = folder / "labels.json"
    path.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    return path


def random_scene(folder: Path, seed: int) -> Scene:
    """Boxes of every COCO size range, some of them crowds; detections near them and elsewhere, in random order."""
    random = np.random.default_rng(seed)
    labels: list[list[dict[str, Any]]] = []
    found: list[list[Found]] = []
    for _ in range(8):
        entries: list[dict[str, Any]] = []
        answers: list[Found] = []
        for _ in range(int(random.integers(0, 9))):
            width, height = (float(side) for side in random.uniform(8, 200, 2))
            x, y = float(random.uniform(0, 320 - width)), float(random.uniform(0, 240 - height))
            name = str(random.choice(list(CATEGORY_IDS)))
            # Stated areas are those of outlines, which are smaller than the box; size ranges must use them.
            area = width * height * float(random.uniform(0.5, 1))
            crowd = int(random.random() < 0.15)
            bbox = [float(np.float32(value)) for value in (x, y, width, height)]
            entries.append({"category_id": CATEGORY_IDS[name], "bbox": bbox, "area": area, "iscrowd": crowd})
            for _ in range(int(random.integers(0, 4))):
                corners = np.array([x, y, x + width, y + height]) + random.normal(0, 0.08 * width, 4)
                answers.append(
                    (np.sort(corners.reshape(2, 2), 0).ravel().tolist(), random.random(), MODEL_NAMES.index(name))
                )
        for _ in range(int(random.integers(0, 6))):
            corners = random.uniform(0, 240, (2, 2))
            answers.append((np.sort(corners, 0).ravel().tolist(), random.random(), int(random.integers(1, 3))))
        labels.append(entries)
        found.append(answers)
    return Scene(write_labels(folder, labels), found)


def reference_twelve(scene: Scene, names: tuple[str, ...]) -> list[float]:
    """pycocotools on the file itself, with detections in its own image and category ids."""
    with contextlib.redirect_stdout(io.StringIO()):
        labeled = COCO(str(scene.path))
        results = []
        for image_id, frame_found in zip((1000 - 37 * index for index in range(8)), scene.found, strict=True):
            detections = as_detections(frame_found)
            for (x1, y1, x2, y2), score, class_id in zip(
                detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
            ):
                bbox = [x1, y1, x2 - x1, y2 - y1]
                category = CATEGORY_IDS[MODEL_NAMES[class_id]]
                results.append({"image_id": image_id, "category_id": category, "bbox": bbox, "score": score})
        evaluator = COCOeval(labeled, labeled.loadRes(results), iouType="bbox")
        evaluator.params.catIds = [CATEGORY_IDS[name] for name in names]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_numbers_are_those_of_pycocotools_on_the_file_itself(tmp_path: Path, seed: int) -> None:
    scene = random_scene(tmp_path / "scene", seed)
    measured = evaluate(scene.detect, read_coco(scene.path), MODEL_NAMES)
    expected = reference_twelve(scene, ("person", "dog"))
    assert list(measured.coco) == list(COCO_NUMBERS)
    numbers = [-1.0 if value is None else value for value in measured.coco.values()]
    np.testing.assert_allclose(numbers, expected, atol=1e-6)
    assert 0.05 < expected[0] < 0.95, "the scene must be neither trivial nor hopeless"
    assert measured.n_images == 8
    annotations = json.loads(scene.path.read_text())["annotations"]
    assert measured.n_boxes == sum(not entry["iscrowd"] for entry in annotations)


def crowded(count: int) -> tuple[Dataset, tuple[Detections, ...]]:
    """Two images with `count` boxes in rows: all and half of them are found, shifted by chance, among wrong answers."""
    random = np.random.default_rng(0)
    corners = np.array([(20 * col, 30 * row) for row in range(count // 30 + 1) for col in range(30)], np.float32)[
        :count
    ]
    boxes = np.concatenate([corners, corners + np.array([12, 24])], axis=1).astype(np.float32)
    none = np.zeros(count)
    image = LabeledImage(
        Path("a.png"),
        (2000, 700),
        boxes,
        np.ones(count, np.int64),
        (none + 12 * 24).astype(np.float32),
        none > 0,
        (none + 1).astype(np.float32),
    )
    found = []
    for n_right in (count, count // 2):
        shifted = boxes[:n_right] + random.uniform(-2, 2, (n_right, 4))
        wrong = boxes[: count // 3] + 300
        xyxy = np.concatenate([shifted, wrong]).astype(np.float32)
        score = random.uniform(0.1, 1, len(xyxy)).astype(np.float32)
        order = np.argsort(-score)
        found.append(Detections(xyxy[order], score[order], np.ones(len(xyxy), np.int64)))
    dataset = Dataset(Path("x"), "x", ("background", "person"), (image, image), "0")
    return dataset, tuple(found)


@pytest.mark.parametrize(("count", "limit"), [(60, 100), (250, 400)])
def test_all_detections_of_an_image_count(count: int, limit: int) -> None:
    dataset, found = crowded(count)
    measured = measure(dataset, found, [1])
    labeled, results = COCO(), []
    for image_id, (image, detections) in enumerate(zip(dataset.images, found, strict=True)):
        labeled.dataset.setdefault("images", []).append({"id": image_id})
        for x1, y1, x2, y2 in image.boxes_xyxy.tolist():
            labeled.dataset.setdefault("annotations", []).append(
                {
                    "id": len(labeled.dataset.get("annotations", [])) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": 12 * 24,
                    "iscrowd": 0,
                }
            )
        for (x1, y1, x2, y2), score in zip(detections.xyxy.tolist(), detections.score.tolist(), strict=True):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": image_id, "category_id": 1, "bbox": bbox, "score": score})
    labeled.dataset["categories"], labeled.dataset["info"] = [{"id": 1, "name": "person"}], {}
    with contextlib.redirect_stdout(io.StringIO()):
        labeled.createIndex()
        evaluator = COCOeval(labeled, labeled.loadRes(results), iouType="bbox")
        evaluator.params.maxDets = [10, 100, limit]
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]  # (T, R, K, A, M), (T, K, A, M)
    assert measured.ap() == pytest.approx(precision[:, :, 0, 0, 2].mean(), abs=1e-12)
    assert measured.ap("AP50") == pytest.approx(precision[0, :, 0, 0, 2].mean(), abs=1e-12)
    assert measured.ap("APs") == pytest.approx(precision[:, :, 0, 1, 2].mean(), abs=1e-12)
    assert measured.coco["APl"] is None
    assert measured.ap("AR10") == pytest.approx(recall[:, 0, 0, 0].mean(), abs=1e-12)
    assert measured.ap("AR100") == pytest.approx(recall[:, 0, 0, 1].mean(), abs=1e-12)
    numbers = measured.matches.numbers(np.ones((1, 2), np.int64))
    assert {name: value[0] for name, value in numbers.items()} == pytest.approx(
        {name: np.nan if value is None else value for name, value in measured.coco.items()}, abs=1e-12, nan_ok=True
    )


def test_only_classes_of_a_shared_name_are_measured(tmp_path: Path) -> None:
    scene = random_scene(tmp_path / "scene", 5)
    dataset = read_coco(scene.path)
    # The model's class 1 is "cat", so its detections are ignored, as are the dogs in the file.
    measured = evaluate(scene.detect, dataset, ("background", "cat", "person"))
    expected = reference_twelve(scene, ("person",))
    np.testing.assert_allclose([measured.coco[name] or 0.0 for name in COCO_NUMBERS[:3]], expected[:3], atol=1e-6)
    assert measured.ap() != pytest.approx(evaluate(scene.detect, dataset, MODEL_NAMES).ap(), abs=1e-3)


def test_no_shared_class_is_a_dataset_error_that_names_both_sides(tmp_path: Path) -> None:
    scene = random_scene(tmp_path / "scene", 6)

    def never(_: UInt8Array) -> Detections:
        raise AssertionError("no image may be looked at")

    for names in (("background", "cat"), ("person",)):
        with pytest.raises(DatasetError, match=r"\['person', 'dog'\]") as caught:
            evaluate(never, read_coco(scene.path), names)
        assert str(scene.path) in str(caught.value)
        assert str(list(names[1:])) in str(caught.value)


def labels_as_detections(dataset: Dataset) -> Callable[[UInt8Array], Detections]:
    """A detector that returns the labels of the synthetic dataset."""
    answers = {image.read().tobytes(): image for image in dataset.images}

    def detect(frame_bgr: UInt8Array) -> Detections:
        image = answers[frame_bgr.tobytes()]
        return Detections(image.boxes_xyxy, np.ones(len(image.class_ids), np.float32), image.class_ids)

    return detect


def test_crowds_alone_are_nothing_to_measure_against(tmp_path: Path) -> None:
    crowd = {"category_id": 3, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 1}
    path = write_labels(tmp_path / "scene", [[crowd], []], category_ids={"person": 3})
    with pytest.raises(DatasetError, match="except crowds; expected at least one box"):
        require_measurable(read_coco(path), ("background", "person"))


def test_a_perfect_detector_scores_one(dataset_folder: Path) -> None:
    dataset = read_coco(dataset_folder / "val.json")
    measured = evaluate(labels_as_detections(dataset), dataset, dataset.class_names)
    assert [measured.coco[name] for name in ("AP", "AP50", "AP75", "AR100")] == pytest.approx([1.0] * 4)
    assert measured.ap() == measured.coco["AP"]
    assert measured.quasi_iou == 1.0
    rest = {
        "voc07_AP50": 1.0,
        "voc_AP50": 1.0,
        "quasi_iou": 1.0,
        "best_f1": 1.0,
        "best_f1_conf": 1.0,
        "n_images": 6,
        "n_boxes": dataset.num_boxes,
    }
    assert measured.as_dict() == pytest.approx({**measured.coco, **rest})


def test_a_detector_that_finds_nothing_scores_zero(dataset_folder: Path) -> None:
    dataset = read_coco(dataset_folder / "val.json")
    measured = evaluate(lambda _: as_detections([]), dataset, dataset.class_names)
    assert measured.coco["AP"] == 0.0
    assert measured.coco["AR100"] == 0.0
    assert (measured.quasi_iou, measured.best_f1, measured.best_f1_conf) == (0.0, 0.0, 0.0)
    assert measured.coco["APl"] is None, "no image of 96x128 px holds a box of 96x96 px or more"
    assert measured.ap("APl") == 0.0


def test_evaluation_prints_nothing(dataset_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = read_coco(dataset_folder / "val.json")
    evaluate(lambda _: as_detections([]), dataset, dataset.class_names)
    assert capfd.readouterr() == ("", "")


def test_missing_pycocotools_is_an_error_that_names_the_extra(
    dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("pycocotools")]:
        monkeypatch.setitem(sys.modules, name, None)
    dataset = read_coco(dataset_folder / "val.json")
    with pytest.raises(MissingExtraError, match=r"mmpnet\[eval\]"):
        evaluate(lambda _: as_detections([]), dataset, dataset.class_names)


LABEL = {"category_id": 90, "bbox": [10, 10, 100, 100]}
OTHER = {"category_id": 90, "bbox": [200, 10, 100, 100]}
DOG = {"category_id": 3, "bbox": [10, 10, 100, 100]}
ON_LABEL, ON_OTHER, HALF, BARELY, AWAY = (
    [10.0, 10.0, 110.0, 110.0],
    [200.0, 10.0, 300.0, 110.0],
    [10.0, 10.0, 110.0, 60.0],
    [10.0, 10.0, 110.0, 59.0],
    [10.0, 150.0, 60.0, 200.0],
)
PERSON_ID = MODEL_NAMES.index("person")


@pytest.mark.parametrize(
    ("labels", "found", "expected"),
    [
        ([LABEL], [], 0.0),
        ([LABEL, OTHER], [(ON_LABEL, 0.9), (AWAY, 0.8)], 1 / 3),
        ([LABEL], [(ON_LABEL, 0.9), (ON_LABEL, 0.8)], 1 / 2),
        ([LABEL], [(ON_LABEL, 0.9), (AWAY, 0.49)], 1.0),
        ([LABEL], [(ON_LABEL, 0.5)], 1.0),
        ([LABEL], [(ON_LABEL, 0.49)], 0.0),
        ([LABEL], [(HALF, 0.9)], 1.0),
        ([LABEL], [(BARELY, 0.9)], 0.0),
        ([DOG], [(ON_LABEL, 0.9)], 0.0),
        ([DOG, LABEL], [(ON_LABEL, 0.9)], 1 / 2),
        ([LABEL, OTHER], [(ON_OTHER, 0.6), (ON_LABEL, 0.7), (HALF, 0.8)], 2 / 3),
    ],
    ids=[
        "a miss",
        "one of each",
        "a label is found once only",
        "a low score does not count",
        "score 0.5 counts",
        "score 0.49 does not",
        "IoU 0.5 matches",
        "IoU 0.49 does not",
        "another class does not match",
        "another class is missed",
        "the better score takes the label first",
    ],
)
def test_quasi_iou_counts_boxes(
    tmp_path: Path, labels: list[dict[str, Any]], found: list[tuple[list[float], float]], expected: float
) -> None:
    answers = [(xyxy, score, PERSON_ID) for xyxy, score in found]
    scene = Scene(write_labels(tmp_path / "scene", [labels]), [answers])
    assert evaluate(scene.detect, read_coco(scene.path), MODEL_NAMES).quasi_iou == pytest.approx(expected)


def test_quasi_iou_is_of_all_images_together(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "scene", [[LABEL], [LABEL, OTHER], []])
    scene = Scene(path, [[(ON_LABEL, 0.9, PERSON_ID)], [(ON_LABEL, 0.9, PERSON_ID)], [(AWAY, 0.9, PERSON_ID)]])
    assert evaluate(scene.detect, read_coco(path), MODEL_NAMES).quasi_iou == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("counts", "expected"), [((0, 0, 0), 1.0), ((2, 1, 1), 0.5), ((3, 0, 0), 1.0), ((0, 4, 0), 0.0), ((0, 0, 4), 0.0)]
)
def test_quasi_iou_of_counts(counts: tuple[int, int, int], expected: float) -> None:
    assert quasi_iou(*counts) == expected


def test_the_quasi_iou_is_indifferent_to_what_lies_in_a_crowd(tmp_path: Path) -> None:
    crowd = {"category_id": 90, "bbox": [120, 0, 200, 240], "iscrowd": 1}
    path = write_labels(tmp_path / "scene", [[LABEL, crowd]])
    scene = Scene(path, [[(ON_LABEL, 0.9, PERSON_ID), ([150.0, 20.0, 200.0, 90.0], 0.8, PERSON_ID)]])
    assert evaluate(scene.detect, read_coco(path), MODEL_NAMES).quasi_iou == 1.0


def test_detections_are_kept_with_the_classes_of_the_file(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "scene", [[LABEL], []])
    scene = Scene(path, [[(ON_LABEL, 0.9, PERSON_ID), (AWAY, 0.8, MODEL_NAMES.index("dog"))], []])
    dataset = read_coco(path)
    measured = evaluate(scene.detect, dataset, ("background", "cat", "person"))
    assert [one.class_id.tolist() for one in measured.found] == [[dataset.class_names.index("person")], []]
    np.testing.assert_array_equal(measured.found[0].xyxy, [ON_LABEL])
    assert [(one.name, one.n_boxes) for one in measured.classes] == [("person", 1)]


def test_vocs_numbers_are_means_over_the_classes_that_have_boxes(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "scene", [[LABEL, OTHER], [DOG]])
    dog = (ON_LABEL, 0.9, MODEL_NAMES.index("dog"))
    scene = Scene(path, [[(ON_LABEL, 0.9, PERSON_ID)], [dog]])
    measured = evaluate(scene.detect, read_coco(path), MODEL_NAMES)
    assert measured.voc_ap50 == pytest.approx((1 / 2 + 1) / 2)
    assert measured.voc07_ap50 == pytest.approx((6 / 11 + 1) / 2)
    without_dogs = Scene(write_labels(tmp_path / "other", [[LABEL, OTHER]]), [[(ON_LABEL, 0.9, PERSON_ID)]])
    measured = evaluate(without_dogs.detect, read_coco(without_dogs.path), MODEL_NAMES)
    assert [one.voc_ap50 for one in measured.classes] == [pytest.approx(1 / 2), None]
    assert measured.as_dict()["voc_AP50"] == pytest.approx(1 / 2)


def f1_at(scene: Scene, dataset: Dataset, conf: float) -> float:
    """F1 of one class's detections from score `conf`; the best score takes the best free label, from IoU 0.5."""
    hits = answers = 0
    for image, found in zip(dataset.images, scene.found, strict=True):
        free = list(range(len(image.boxes_xyxy)))
        for xyxy in as_detections([entry for entry in found if entry[1] >= conf]).xyxy:
            answers += 1
            overlaps = [float(pairwise_iou(xyxy[None], image.boxes_xyxy[[label]])[0, 0]) for label in free]
            if overlaps and max(overlaps) >= 0.5:
                free.pop(int(np.argmax(overlaps)))
                hits += 1
    return 2 * hits / max(answers + dataset.num_boxes, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_f1_and_its_score_are_those_of_trying_every_score(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels: list[list[dict[str, Any]]] = []
    found: list[list[Found]] = []
    for _ in range(6):
        corners = random.uniform(0, 200, (6, 2))
        labels.append([{"category_id": 90, "bbox": [x, y, 30.0, 40.0]} for x, y in corners.tolist()])
        near = [([x, y, x + 30, y + 40], random.uniform(0.3, 1), PERSON_ID) for x, y in corners[:5] + 3]
        far = [([x, y, x + 9, y + 9], random.uniform(0, 0.7), PERSON_ID) for x, y in random.uniform(0, 200, (9, 2))]
        found.append(near + far)
    scene = Scene(write_labels(tmp_path / "scene", labels, category_ids={"person": 90}), found)
    dataset = read_coco(scene.path)
    measured = evaluate(scene.detect, dataset, MODEL_NAMES)
    best = max(f1_at(scene, dataset, score) for entries in found for _, score, _ in entries)
    assert measured.best_f1 == pytest.approx(best)
    assert f1_at(scene, dataset, measured.best_f1_conf - 1e-6) == pytest.approx(best)


def test_a_class_without_a_label_does_not_lower_the_best_f1(tmp_path: Path) -> None:
    scene = Scene(write_labels(tmp_path / "scene", [[LABEL]]), [[(ON_LABEL, 0.8, PERSON_ID)]])
    measured = evaluate(scene.detect, read_coco(scene.path), MODEL_NAMES)
    assert measured.ap() == pytest.approx(1.0)
    assert measured.best_f1 == pytest.approx(1.0)
    assert measured.best_f1_conf == pytest.approx(0.8)


def test_a_crowd_need_not_be_found_and_does_not_punish_what_lies_in_it(tmp_path: Path) -> None:
    crowd = {"category_id": 90, "bbox": [120, 0, 200, 240], "iscrowd": 1}
    path = write_labels(tmp_path / "scene", [[LABEL, crowd]])
    inside = [150.0, 20.0, 200.0, 90.0]
    outside = Scene(path, [[(ON_LABEL, 0.6, PERSON_ID)]])
    measured = evaluate(outside.detect, read_coco(path), MODEL_NAMES)
    assert measured.ap() == pytest.approx(1.0)
    assert measured.quasi_iou == 1.0
    better_inside = Scene(path, [[(ON_LABEL, 0.6, PERSON_ID), (inside, 0.9, PERSON_ID)]])
    assert evaluate(better_inside.detect, read_coco(path), MODEL_NAMES).ap() == pytest.approx(1.0)
    away = Scene(path, [[(ON_LABEL, 0.6, PERSON_ID), (AWAY, 0.9, PERSON_ID)]])
    assert evaluate(away.detect, read_coco(path), MODEL_NAMES).ap() == pytest.approx(0.5), "elsewhere it counts"
