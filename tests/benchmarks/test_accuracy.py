"""accuracy.py: curves equal those made by hand, numbers equal mmp-val's exactly, and each dataset is separate."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import accuracy
from harness.accuracy import mean_precision, numbers, only_wide
from harness.frames import SAMPLE_IMAGE
from mmpnet.contract.detections import Detections
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.cli import val as val_cli
from support.coco_writer import write_coco

MODEL = "person-224-int8"


def people_at(folder: Path, *boxes_xywh: list[float]) -> Path:
    """A COCO file with a copy of the sample image for each of the boxes, and one image without people."""
    (folder / "images").mkdir(parents=True)
    pixels = read_image(SAMPLE_IMAGE)
    height, width = pixels.shape[:2]
    shown = [*(pixels for _ in boxes_xywh), np.full_like(pixels, 60)]
    for number, content in enumerate(shown, start=1):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), content)
    images = [{"id": n + 1, "file_name": f"{n + 1}.png", "width": width, "height": height} for n in range(len(shown))]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, box in enumerate(boxes_xywh, start=1)
    ]
    categories = [{"id": 1, "name": "person"}]
    path = folder / "val.json"
    path.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    return folder


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets: one labeled where the larger model finds its person, one in a corner without people."""
    folder = tmp_path_factory.mktemp("labeled")
    x1, y1, x2, y2 = (float(value) for value in Detector("person-320", threads=1)(read_image(SAMPLE_IMAGE)).xyxy[0])
    right = people_at(folder / "right", [x1, y1, x2 - x1, y2 - y1], [x1, y1, x2 - x1, y2 - y1])
    return right, people_at(folder / "wrong", [0.0, 0.0, 12.0, 12.0])


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(accuracy.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_the_curve_by_hand_and_its_mean_is_ap50(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "val.json", count=2, seed=0), "val")
    boxes = [image.boxes_xyxy for image in dataset.images]
    count = sum(map(len, boxes))
    # The best box is correct, the next one wrong, and the other boxes of the first image are correct again.
    first = Detections(
        np.concatenate([boxes[0][:1], np.array([[0, 0, 2, 2]], np.float32), boxes[0][1:]]),
        np.linspace(0.9, 0.5, len(boxes[0]) + 1).astype(np.float32),
        np.ones(len(boxes[0]) + 1, np.int64),
    )
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    found = iter((first, nothing))
    evaluation = evaluate(lambda _: next(found), dataset, ("background", "person"))
    curve = mean_precision(evaluation, dataset)
    right = len(boxes[0])
    assert 1 < right < count
    expected = [
        1.0 if percent * count <= 100 * 1 else right / (right + 1) if 100 * right >= percent * count else 0.0
        for percent in range(101)
    ]
    np.testing.assert_allclose(curve, expected)
    assert curve.mean() == pytest.approx(evaluation.coco["AP50"], abs=1e-6)
    found_numbers = numbers(evaluation)
    assert found_numbers["AP50"] == round(curve.mean(), 4)
    assert found_numbers["n_boxes"] == count
    assert found_numbers["best_f1_conf"] == pytest.approx(0.5)
    assert found_numbers["quasi_iou"] == round(right / (count + 1), 4)


def test_a_trial_has_images_of_the_whole_set(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "val.json", count=10, seed=0), "val")
    for limit, rows in ((5, [0, 2, 4, 6, 8]), (3, [0, 3, 6]), (1, [0]), (10, list(range(10)))):
        chosen = evenly_spaced(dataset, limit)
        assert [image.path for image in chosen.images] == [dataset.images[row].path for row in rows]
    assert evenly_spaced(dataset, None) is dataset
    assert evenly_spaced(dataset, 11) is dataset


def test_it_equals_mmp_val_of_each_dataset(labeled: tuple[Path, Path], tmp_path: Path) -> None:
    figure = tmp_path / "curves.png"
    both = [argument for folder in labeled for argument in ("--data", folder)]
    code, stdout, stderr = run(MODEL, *both, "--threads", 1, "--figure", figure, "--json")
    assert code == 0
    right, wrong = json.loads(stdout)["data"]
    assert (right["n_images"], wrong["n_images"]) == (3, 2)
    assert right["models"][MODEL]["AP50"] > 0.9
    assert wrong["models"][MODEL]["AP50"] == 0
    assert right["models"][MODEL]["APs"] is None, "no person of the sample image is small"
    assert wrong["models"][MODEL]["APs"] == 0
    for folder, entry in zip(labeled, (right, wrong), strict=True):
        said = CliRunner().invoke(val_cli.app, [MODEL, "--data", str(folder), "--threads", "1", "--json"])
        numbers = json.loads(said.stdout)
        found = entry["models"][MODEL]
        assert found == {name: None if numbers[name] is None else round(numbers[name], 4) for name in found}
        assert set(found) >= {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "quasi_iou", "best_f1_conf"}
    assert stderr.count(MODEL) >= 2
    drawn = cv2.imread(str(figure))
    assert drawn is not None
    assert drawn.std() > 10


def test_a_limit_is_reported(labeled: tuple[Path, Path]) -> None:
    code, stdout, _ = run(MODEL, "--data", labeled[0], "--limit", 1, "--threads", 1, "--json")
    result = json.loads(stdout)
    assert (code, result["limit"], result["data"][0]["n_images"]) == (0, 1, 1)
    assert result["data"][0]["models"][MODEL]["n_boxes"] == 1


def test_mistakes_are_one_line(labeled: tuple[Path, Path], tmp_path: Path) -> None:
    code, stdout, stderr = run(MODEL, "--data", tmp_path / "absent")
    assert (code, stdout) == (1, "")
    assert "no such file or folder" in stderr
    code, stdout, stderr = run(MODEL, MODEL, "--data", labeled[0])
    assert (code, stdout) == (1, "")
    assert "different names" in stderr


def test_wide_images_alone(labeled: tuple[Path, Path], tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "val.json", count=4, seed=0), "val")
    sizes = [(90, 160), (160, 90), (100, 100), (10, 17)]
    images = tuple(dataclasses.replace(one, image_hw=hw) for one, hw in zip(dataset.images, sizes, strict=True))
    dataset = dataclasses.replace(dataset, images=images)
    assert only_wide(dataset, 1.5).images == (images[0], images[3])
    assert only_wide(dataset, 1.7).images == (images[0],)
    assert only_wide(dataset, None) is dataset
    code, _, stderr = run(MODEL, "--data", labeled[0], "--wider-than", 9)
    assert code == 1
    assert "no image is wider than 9 of its height" in stderr
