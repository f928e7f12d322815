"""The rules of the MNIST-detection images, one test each."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import mnist_images
from mmpnet.contract.boxes import area, pairwise_iou
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.train.loading.sampling import generator
from mnist_digits import Digits, read_digits
from mnist_images import CANVAS_PX, draw_scene, draw_square, resized, tight_box, write_split


@pytest.fixture(scope="module")
def digits(mnist_folder: Path) -> Digits:
    return read_digits(mnist_folder, "train")


def full_squares() -> Digits:
    """Digits that fill their square: the tight box is the square."""
    return Digits(np.full((1, 28, 28), 200, np.uint8), np.array([3], np.uint8), "0")


def test_between_1_and_20_digits_each_count_about_equally_often(digits: Digits) -> None:
    counts = [len(draw_scene(digits, np.random.default_rng(seed)).digits) for seed in range(600)]
    histogram = np.bincount(counts, minlength=21)
    assert histogram[0] == 0
    assert len(histogram) == 21
    assert (histogram[1:] >= 10).all()  # 30 expected; 10 is more than four standard deviations below


def test_squares_have_every_side_from_15_to_99_and_stay_inside() -> None:
    random = np.random.default_rng(0)
    squares = [draw_square(np.zeros((0, 4), np.float32), random) for _ in range(6000)]
    x, y, side = np.array(squares).T
    assert set(side.tolist()) == set(range(15, 100))
    assert x.min() == y.min() == 0
    assert (x + side).max() == (y + side).max() == CANVAS_PX


def test_a_square_is_redrawn_while_it_overlaps_an_earlier_box() -> None:
    earlier = np.array([[0, 0, 150, 300], [160, 20, 230, 90]], np.float32)
    for seed in range(300):
        found = draw_square(earlier, np.random.default_rng(seed))
        assert found is not None
        x, y, side = found
        assert pairwise_iou(np.array([[x, y, x + side, y + side]], np.float32), earlier).max() < 0.25


def test_overlap_of_exactly_a_quarter_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_images, "SIDE_RANGE_PX", (20, 20))
    monkeypatch.setattr(mnist_images, "CANVAS_PX", 20)
    quarter = np.array([[0, 0, 10, 10]], np.float32)
    assert pairwise_iou(np.array([[0, 0, 20, 20]], np.float32), quarter)[0, 0] == 0.25
    assert draw_square(quarter, np.random.default_rng(0), max_draws=3) is None
    assert draw_square(quarter * 0.99, np.random.default_rng(0), max_draws=3) == (0, 0, 20)


def test_squares_are_compared_with_tight_boxes_not_with_squares() -> None:
    """Squares of thin digits may overlap by far more than a quarter."""
    thin = np.zeros((1, 28, 28), np.uint8)
    thin[:, :, 14] = 255
    strokes = Digits(thin, np.array([1], np.uint8), "0")
    deep = 0
    for seed in range(40):
        boxes = draw_scene(strokes, np.random.default_rng(seed)).boxes_xyxy
        sides = boxes[:, 3] - boxes[:, 1]
        middle = (boxes[:, 0] + boxes[:, 2]) / 2
        squares = np.stack([middle - sides / 2, boxes[:, 1], middle + sides / 2, boxes[:, 3]], axis=1)
        deep += int((np.triu(pairwise_iou(squares, squares), 1) > 0.4).sum())
    assert deep > 0
    for seed in range(40):
        boxes = draw_scene(full_squares(), np.random.default_rng(seed)).boxes_xyxy
        assert np.triu(pairwise_iou(boxes, boxes), 1).max() < 0.25


def test_draws_are_capped_and_what_was_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a canvas of one square's size, the first full digit leaves no room."""
    monkeypatch.setattr(mnist_images, "CANVAS_PX", 40)
    monkeypatch.setattr(mnist_images, "SIDE_RANGE_PX", (38, 40))
    wanted = int(np.random.default_rng(5).integers(1, 20, endpoint=True))
    scene = draw_scene(full_squares(), np.random.default_rng(5), max_draws=50)
    assert wanted > 1
    assert (len(scene.digits), scene.left_out) == (1, wanted - 1)
    path = write_split(tmp_path, full_squares(), split="test", count=4, seed=0)
    assert json.loads(path.read_text())["info"]["left_out"] > 0


def test_a_crowded_canvas_always_has_room(digits: Digits) -> None:
    assert sum(draw_scene(digits, np.random.default_rng(seed)).left_out for seed in range(200)) == 0


@pytest.mark.parametrize("side", [15, 27, 28, 29, 64, 99])
def test_boxes_are_tight_around_the_ink(digits: Digits, side: int) -> None:
    for digit in digits.images[:10]:
        small = resized(digit, side)
        assert small.shape == (side, side)
        x1, y1, x2, y2 = tight_box(small).astype(int)
        inside = small[y1:y2, x1:x2]
        assert inside.sum() == small.sum()
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_every_box_in_a_image_has_ink_at_each_of_its_edges(digits: Digits) -> None:
    for seed in range(20):
        scene = draw_scene(digits, np.random.default_rng(seed))
        assert scene.image.shape == (300, 300)
        covered = np.zeros((300, 300), bool)
        for x1, y1, x2, y2 in scene.boxes_xyxy.astype(int):
            inside = scene.image[y1:y2, x1:x2]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            covered[y1:y2, x1:x2] = True
        assert not scene.image[~covered].any()


def test_ink_adds_up_and_is_clipped_at_white(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = iter([(0, 0, 40), (20, 20, 40), (30, 0, 20), (200, 200, 28)])
    monkeypatch.setattr(mnist_images, "draw_square", lambda *_, **__: next(corners))
    monkeypatch.setattr(mnist_images, "COUNT_RANGE", (4, 4))
    dim = Digits(np.full((1, 28, 28), 100, np.uint8), np.array([7], np.uint8), "0")
    image = draw_scene(dim, np.random.default_rng(0)).image
    assert image[5, 5] == 100
    assert image[30, 25] == 200  # two digits
    corners = iter([(0, 0, 40), (0, 0, 30), (0, 0, 20), (200, 200, 28)])
    image = draw_scene(dim, np.random.default_rng(0)).image
    assert (image[10, 10], image[25, 25], image[35, 35]) == (255, 200, 100)


def test_labels_follow_their_digits() -> None:
    """Each digit class has its own brightness, so that the image shows which one is where."""
    images = np.stack([np.full((28, 28), 20 * (label + 1), np.uint8) for label in range(10)])
    coded = Digits(images, np.arange(10, dtype=np.uint8), "0")
    seen = set()
    for seed in range(30):
        scene = draw_scene(coded, np.random.default_rng(seed))
        alone = (pairwise_iou(scene.boxes_xyxy, scene.boxes_xyxy) > 0).sum(axis=1) == 1
        for (x1, y1, _, _), digit in zip(scene.boxes_xyxy[alone].astype(int), scene.digits[alone], strict=True):
            assert scene.image[y1, x1] == 20 * (digit + 1)
            seen.add(int(digit))
    assert seen == set(range(10))


def test_a_split_is_a_dataset_that_the_product_reads(mnist_folder: Path, tmp_path: Path) -> None:
    path = write_split(tmp_path, read_digits(mnist_folder, "train"), split="train", count=5, seed=1)
    dataset = read_coco(path)
    assert dataset.class_names == ("background", *"0123456789")
    assert len(dataset.images) == 5
    for image in dataset.images:
        frame = image.read()
        assert frame.shape == (300, 300, 3)
        assert image.path.suffix == ".png"
        np.testing.assert_array_equal(image.areas_px2, area(image.boxes_xyxy))
        scene_ink = frame[..., 0]
        assert set(np.unique(scene_ink).tolist()) != {0}


def test_written_images_and_boxes_are_the_drawn_ones(mnist_folder: Path, tmp_path: Path) -> None:
    digits = read_digits(mnist_folder, "train")
    dataset = read_coco(write_split(tmp_path, digits, split="train", count=3, seed=1))
    for number, image in enumerate(dataset.images, start=1):
        scene = draw_scene(digits, generator(1, 0, number))
        np.testing.assert_array_equal(cv2.imread(str(image.path), cv2.IMREAD_GRAYSCALE), scene.image)
        np.testing.assert_array_equal(image.boxes_xyxy, scene.boxes_xyxy)
        np.testing.assert_array_equal(image.class_ids, scene.digits + 1)


def test_same_seed_same_files_and_a_longer_split_starts_the_same(mnist_folder: Path, tmp_path: Path) -> None:
    digits = read_digits(mnist_folder, "train")
    for folder, count, seed in (("a", 3, 4), ("b", 3, 4), ("c", 5, 4), ("d", 3, 5)):
        write_split(tmp_path / folder, digits, split="train", count=count, seed=seed)
    files = {
        folder: {path.name: path.read_bytes() for path in sorted((tmp_path / folder / "images").iterdir())}
        for folder in "abcd"
    }
    assert files["a"] == files["b"]
    assert (tmp_path / "a" / "train.json").read_bytes() == (tmp_path / "b" / "train.json").read_bytes()
    assert {name: files["c"][name] for name in files["a"]} == files["a"]
    assert files["d"].keys() == files["a"].keys()
    assert all(files["d"][name] != files["a"][name] for name in files["a"])


def test_test_images_use_other_draws_than_training_images(digits: Digits, tmp_path: Path) -> None:
    train = read_coco(write_split(tmp_path, digits, split="train", count=3, seed=0))
    test = read_coco(write_split(tmp_path, digits, split="test", count=3, seed=0))
    for one, other in zip(train.images, test.images, strict=True):
        assert not np.array_equal(one.boxes_xyxy, other.boxes_xyxy)


def test_a_split_that_is_there_is_kept_and_never_mistaken_for_another(digits: Digits, tmp_path: Path) -> None:
    path = write_split(tmp_path, digits, split="train", count=2, seed=0)
    written_at = path.stat().st_mtime_ns
    assert write_split(tmp_path, digits, split="train", count=2, seed=0) == path
    assert path.stat().st_mtime_ns == written_at
    with pytest.raises(DatasetError, match="seed 0 instead of 1"):
        write_split(tmp_path, digits, split="train", count=2, seed=1)
    with pytest.raises(DatasetError, match="mnist_sha256"):
        write_split(tmp_path, full_squares(), split="train", count=2, seed=0)
    path.write_text("{}")
    with pytest.raises(DatasetError, match="not made by this exercise"):
        write_split(tmp_path, digits, split="train", count=2, seed=0)
