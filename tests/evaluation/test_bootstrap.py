"""Resampled accuracies equal those of the evaluator on a dataset with the images repeated accordingly."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmpnet.contract.detections import Detections
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation import image_matches as image_matches_module
from mmpnet.evaluation.bootstrap import LEAST_IMAGES, LEVEL, Bootstrap, difference, interval, resampled
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import Evaluation, measure

CLASSES = ("background", "person", "dog")


def random_image(random: np.random.Generator) -> LabeledImage:
    """Boxes of every COCO size range, some of them crowds, in two classes."""
    count = int(random.integers(0, 6))
    sides = random.choice([20, 60, 150], size=(count, 2)) * random.uniform(0.7, 1.3, (count, 2))
    corner = random.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    return LabeledImage(
        path=Path("nowhere.png"),
        image_hw=(300, 300),
        boxes_xyxy=boxes,
        class_ids=random.integers(1, 3, count),
        areas_px2=sides.prod(axis=1).astype(np.float32),
        crowd=random.random(count) < 0.15,
        scores=np.ones(count, np.float32),
    )


def random_answer(image: LabeledImage, random: np.random.Generator) -> Detections:
    """Detections near the boxes and elsewhere; images share scores, but no image has the same score twice."""
    near = image.boxes_xyxy.repeat(3, axis=0)
    near = near + random.normal(0, 0.08, near.shape) * (near[:, 2:] - near[:, :2]).repeat(2, axis=1)
    wild = random.uniform(0, 200, (4, 2))
    boxes = np.concatenate([near, np.concatenate([wild, wild + random.uniform(10, 90, (4, 2))], axis=1)])
    scores = -np.sort(-random.choice(np.arange(1, 41), size=len(boxes), replace=False)) / 41
    ids = np.concatenate([image.class_ids.repeat(3), random.integers(1, 3, 4)])
    order = random.permutation(len(boxes))
    return Detections(boxes[order].astype(np.float32), scores.astype(np.float32), ids[order])


def random_scene(seed: int, n_images: int = 12) -> tuple[Dataset, tuple[Detections, ...]]:
    random = np.random.default_rng(seed)
    images = tuple(random_image(random) for _ in range(n_images))
    dataset = Dataset(Path("nowhere.json"), "nowhere", CLASSES, images, "")
    return dataset, tuple(random_answer(image, random) for image in images)


def measured_as_drawn(dataset: Dataset, found: tuple[Detections, ...], counts: NDArray[np.int64]) -> Evaluation:
    """The slow reference: a dataset that repeats each image as often as it was drawn, evaluated from scratch."""
    rows = np.repeat(np.arange(len(counts)), counts)
    drawn = Dataset(dataset.path, dataset.name, dataset.class_names, tuple(dataset.images[row] for row in rows), "")
    return measure(drawn, tuple(found[row] for row in rows), [1, 2])


@pytest.mark.parametrize("seed", range(12))
def test_a_resample_has_the_numbers_of_the_evaluator(seed: int) -> None:
    dataset, found = random_scene(seed)
    counts = Bootstrap(resamples=4, seed=seed).counts(len(dataset.images))
    assert (counts.sum(axis=1) == len(dataset.images)).all()
    assert (counts > 1).any()
    numbers = measure(dataset, found, [1, 2]).matches.numbers(counts)
    assert list(numbers) == list(COCO_NUMBERS)
    for row, drawn in enumerate(counts):
        expected = measured_as_drawn(dataset, found, drawn).coco
        for name, value in expected.items():
            assert numbers[name][row] == pytest.approx(np.nan if value is None else value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("seed", range(4))
def test_every_image_once_is_the_dataset_itself(seed: int) -> None:
    dataset, found = random_scene(seed)
    measured = measure(dataset, found, [1, 2])
    numbers = measured.matches.numbers(np.ones((1, len(dataset.images)), np.int64))
    assert {name: value[0] for name, value in numbers.items()} == pytest.approx(measured.coco, abs=1e-12)
    assert 0.05 < measured.ap() < 0.95, "the scene must be neither trivial nor hopeless"


def test_a_resample_without_boxes_has_no_numbers_and_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, found = random_scene(3)
    matches = measure(dataset, found, [1, 2]).matches
    counts = Bootstrap(resamples=50).counts(len(dataset.images))
    empty = [index for index, image in enumerate(dataset.images) if image.crowd.all()]
    counts[7] = 0
    counts[7, empty] = 1
    assert empty
    whole = matches.numbers(counts)
    assert np.isnan(whole["AP"][7])
    assert np.isfinite(np.delete(whole["AP"], 7)).all()
    monkeypatch.setattr(image_matches_module, "ROW_SIZE", 1)
    for name, values in matches.numbers(counts).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_detector_that_finds_nothing_has_zeros() -> None:
    dataset, _ = random_scene(0, n_images=30)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    measured = measure(dataset, (nothing,) * len(dataset.images), [1, 2])
    samples = resampled(measured.matches, Bootstrap(resamples=5))
    assert samples is not None
    np.testing.assert_array_equal(samples["AP"], np.zeros(5))
    np.testing.assert_array_equal(samples["AR100"], np.zeros(5))


def test_few_images_with_boxes_have_no_interval() -> None:
    dataset, found = random_scene(9, n_images=LEAST_IMAGES + 3)
    with_boxes = [row for row, image in enumerate(dataset.images) if not image.crowd.all()]
    assert len(with_boxes) >= LEAST_IMAGES - 1
    for count, is_none in ((LEAST_IMAGES, False), (LEAST_IMAGES - 1, True)):
        rows = [*with_boxes, *with_boxes][:count]
        part = Dataset(dataset.path, "part", CLASSES, tuple(dataset.images[row] for row in rows), "")
        matches = measure(part, tuple(found[row] for row in rows), [1, 2]).matches
        assert matches.n_images_with_boxes == count
        assert (resampled(matches, Bootstrap(resamples=3)) is None) == is_none


def test_the_interval_holds_the_middle_of_the_values() -> None:
    values = np.arange(1001.0)
    found = interval(np.append(np.random.default_rng(0).permutation(values), np.nan))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((25, 975))
    assert LEVEL == 0.95
    assert interval(np.array([np.nan])) is None


def test_the_interval_is_as_wide_as_accuracy_varies_between_datasets() -> None:
    dataset, found = random_scene(5, n_images=300)
    population = measure(dataset, found, [1, 2]).matches
    random = np.random.default_rng(1)
    # 80 datasets of 100 images each, one of which is resampled.
    sets = random.multinomial(100, np.full(300, 1 / 300), size=80)
    varies = population.numbers(sets)["AP50"].std()
    resampled_sets = random.multinomial(100, sets[0] / 100, size=300)
    around = interval(population.numbers(resampled_sets)["AP50"])
    assert around is not None
    assert around.high - around.low == pytest.approx(2 * 1.96 * varies, rel=0.25)


def test_two_models_are_compared_on_the_same_draws() -> None:
    dataset, found = random_scene(6, n_images=40)
    better = measure(dataset, found, [1, 2])
    # The other model's boxes are beside their objects.
    beside = (Detections(one.xyxy + np.float32(6), one.score, one.class_id) for one in found)
    worse = measure(dataset, tuple(beside), [1, 2])
    how = Bootstrap(resamples=300, seed=2)
    samples, others = resampled(better.matches, how), resampled(worse.matches, how)
    assert samples is not None
    assert others is not None
    itself = difference("AP", better.coco, better.coco, samples, samples)
    assert itself is not None
    assert (itself.value, itself.interval.low, itself.interval.high) == (0, 0, 0)
    assert not itself.is_significant
    apart = difference("AP", better.coco, worse.coco, samples, others)
    assert apart is not None
    assert apart.value == pytest.approx(better.ap() - worse.ap())
    assert apart.is_significant
    own = interval(samples["AP"])
    assert own is not None
    assert apart.interval.high - apart.interval.low < own.high - own.low, "what both find hard cancels"


def test_a_seed_decides_the_draws_and_no_resamples_are_refused() -> None:
    one, same, other = (Bootstrap(20, seed).counts(30) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    with pytest.raises(ValueError, match="at least 1 resample"):
        Bootstrap(resamples=0)
