"""The images of an epoch are a pure function of seed and epoch."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import TrainingError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, SampleKey, image_weights, input_sizes

PLAN = EpochPlan(input_sizes=((64, 64),))


def epoch_keys(weights: list[float], *, seed: int = 0, epoch: int = 0, batch: int = 4) -> list[SampleKey]:
    sampler = EpochSampler(np.array(weights), PLAN, batch_size=batch, seed=seed, epoch=epoch)
    return [key for keys in sampler for key in keys]


def test_equal_weights_show_every_image_once() -> None:
    assert sorted(key.index for key in epoch_keys([1.0] * 12)) == list(range(12))


def test_weights_are_kept_to_within_one_draw() -> None:
    weights = [0.5] * 20 + [1.0] * 10 + [4.0] * 10
    share = np.array(weights) / sum(weights) * 40
    counts = Counter(key.index for key in epoch_keys(weights))
    for index, expected in enumerate(share):
        assert np.floor(expected) <= counts[index] <= np.ceil(expected)


def test_order_and_augmentation_differ_by_epoch_and_seed_and_repeat() -> None:
    assert epoch_keys([1.0] * 12) == epoch_keys([1.0] * 12)
    assert epoch_keys([1.0] * 12) != epoch_keys([1.0] * 12, epoch=1)
    assert epoch_keys([1.0] * 12) != epoch_keys([1.0] * 12, seed=1)
    seeds = [key.seed for key in epoch_keys([1.0] * 12)] + [key.seed for key in epoch_keys([1.0] * 12, epoch=1)]
    assert len(set(seeds)) == 24


def test_skipping_leaves_the_rest_of_the_epoch_as_it_was() -> None:
    whole = list(EpochSampler(np.ones(14), PLAN, batch_size=4, seed=0, epoch=3))
    rest = EpochSampler(np.ones(14), PLAN, batch_size=4, seed=0, epoch=3, skip=2)
    assert list(rest) == whole[2:]
    assert len(rest) == 1
    assert [len(batch) for batch in whole] == [4, 4, 4]


def test_fewer_images_than_a_batch_are_one_small_batch() -> None:
    assert [len(batch) for batch in EpochSampler(np.ones(3), PLAN, batch_size=8, seed=0, epoch=0)] == [3]


def test_group_weights_multiply_and_average_one(dataset_folder: Path) -> None:
    images = read_coco(dataset_folder / "train.json").images
    weights = image_weights(images, [("str*", 3.0), ("synthetic", 2.0)])
    street = np.array(["street" in image.tags for image in images])
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_allclose(weights[street] / weights[~street][0], 3.0)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_group_weights_are_refused(dataset_folder: Path, weight: float) -> None:
    with pytest.raises(TrainingError, match="above 0"):
        image_weights(read_coco(dataset_folder / "train.json").images, [("street", weight)])


@pytest.mark.parametrize("weight", [1e308, 1e-308])
def test_group_weights_that_no_number_holds_are_refused(dataset_folder: Path, weight: float) -> None:
    images = read_coco(dataset_folder / "train.json").images
    with pytest.raises(TrainingError, match="too far apart"):
        image_weights(images, [("street", weight), ("s*", weight)])


def test_a_pattern_that_matches_nothing_names_what_there_is(dataset_folder: Path) -> None:
    with pytest.raises(TrainingError, match="street, synthetic, yard"):
        image_weights(read_coco(dataset_folder / "train.json").images, [("coco", 2.0)])


def test_the_planned_share_of_samples_are_mosaics_of_four() -> None:
    weights = np.array([1.0] * 900 + [9.0] * 100)
    sampler = EpochSampler(weights, EpochPlan(((64, 64),), mosaic=0.3), batch_size=10, seed=0, epoch=0)
    keys = [key for batch in sampler for key in batch]
    partners = [partner for key in keys for partner in key.partners]
    assert {len(key.partners) for key in keys} == {0, 3}
    assert 0.25 < sum(bool(key.partners) for key in keys) / len(keys) < 0.35
    assert 0.43 < np.mean([partner >= 900 for partner in partners]) < 0.57, "partners are drawn by weight too"


def test_mosaics_have_the_planned_numbers_of_images_along_a_side() -> None:
    plan = EpochPlan(((64, 64),), mosaic=0.5, mosaic_grids=(2, 3, 4))
    keys = [key for batch in EpochSampler(np.ones(2000), plan, batch_size=10, seed=0, epoch=0) for key in batch]
    counts = Counter(len(key.partners) for key in keys)
    assert set(counts) == {0, 3, 8, 15}
    assert all(270 < counts[partners] < 400 for partners in (3, 8, 15))


def test_a_batch_has_one_input_size_and_all_sizes_come_up() -> None:
    plan = EpochPlan(input_sizes((320, 320), 0.2))
    batches = list(EpochSampler(np.ones(400), plan, batch_size=4, seed=0, epoch=0))
    assert all(len({key.input_hw for key in batch}) == 1 for batch in batches)
    assert {batch[0].input_hw for batch in batches} == {(s, s) for s in (256, 288, 320, 352, 384)}


def test_input_sizes_keep_the_shape_and_the_size_itself() -> None:
    assert input_sizes((200, 320), 0.0) == ((200, 320),)
    sizes = input_sizes((192, 320), 0.2)
    assert sizes[0] == (192, 320)
    assert all(h % 32 == 0 and w % 32 == 0 for h, w in sizes)
    assert set(sizes) == {(192, 320), (160, 256), (224, 384)}


@pytest.mark.parametrize("world", [2, 3])
def test_the_processes_of_a_run_share_its_batches(world: int) -> None:
    plan = EpochPlan(((64, 64),), mosaic=0.5)
    whole = list(EpochSampler(np.ones(26), plan, batch_size=6, seed=0, epoch=1))
    shares = [
        list(EpochSampler(np.ones(26), plan, batch_size=6, seed=0, epoch=1, shard=(rank, world)))
        for rank in range(world)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(key.seed for part in parts for key in part) == sorted(key.seed for key in batch)
        assert {len(part) for part in parts} == {6 // world}
