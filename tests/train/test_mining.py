"""Mining draws the right negatives, the right number of them, and from the right image."""

import pytest
import torch

from mmpnet.train.mining import MIN_NEGATIVES, get_random_sampling_mask, hard_negatives


def make_labels(seed: int, *, batch: int = 4, share: float = 0.02) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, 2, 3, 8, 8, generator=generator) < share).long()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("neg_ratio", [0.0, 0.5, 2.0, 3.0])
def test_mask_has_all_positives_and_the_asked_share_of_negatives(seed: int, neg_ratio: float) -> None:
    labels = make_labels(seed)
    mask = get_random_sampling_mask(labels, neg_ratio, generator=torch.Generator().manual_seed(seed))
    assert mask.shape == labels.shape
    assert set(mask.flatten().tolist()) <= {0, 1}
    assert (mask[labels > 0] == 1).all()
    for image, picked in zip(labels, mask, strict=True):
        positives = int((image > 0).sum())
        assert positives > 0
        assert int(picked[image == 0].sum()) == round(positives * neg_ratio)


def test_image_without_positives_gets_the_stated_minimum() -> None:
    labels = torch.zeros(3, 1, 1, 10, 10, dtype=torch.long)
    assert get_random_sampling_mask(labels, 3.0).flatten(1).sum(dim=1).tolist() == [MIN_NEGATIVES] * 3
    assert get_random_sampling_mask(labels, 3.0, min_negatives=5).flatten(1).sum(dim=1).tolist() == [5] * 3


def test_labels_below_zero_are_never_picked() -> None:
    labels = torch.zeros(1, 20, dtype=torch.long)
    labels[0, :3], labels[0, 3:15] = 1, -1
    expected = [1.0] * 3 + [0.0] * 12 + [1.0] * 5
    assert get_random_sampling_mask(labels, 3.0)[0].tolist() == expected
    loss = torch.where(labels < 0, 9.0, 1.0)
    assert hard_negatives(loss, labels, 3.0)[0].tolist() == expected
    assert hard_negatives(loss, labels, 1.0)[0, 3:15].sum() == 0


def test_no_image_gives_more_negatives_than_it_has() -> None:
    labels = torch.ones(2, 1, 1, 2, 5, dtype=torch.long)
    labels[0, ..., 0] = 0
    assert get_random_sampling_mask(labels, 100.0).sum() == 20
    assert get_random_sampling_mask(torch.zeros(1, 6), 1.0).sum() == 6


def test_draws_differ_between_calls_and_repeat_with_the_seed() -> None:
    labels = make_labels(0)
    draws = [get_random_sampling_mask(labels, 3.0, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_every_negative_is_drawn_about_equally_often() -> None:
    labels = torch.zeros(1, 40, dtype=torch.long)
    labels[0, :5] = 1
    generator = torch.Generator().manual_seed(0)
    draws = sum(get_random_sampling_mask(labels, 2.0, generator=generator) for _ in range(2000))
    assert isinstance(draws, torch.Tensor)
    share = draws[0, 5:].double() / 2000
    assert (share - 10 / 35).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_mask_keeps_shape_and_dtype_of_the_labels(dtype: torch.dtype) -> None:
    labels = make_labels(0).to(dtype)
    assert get_random_sampling_mask(labels, 1.0).dtype == dtype


def test_higher_class_indices_are_positives_too() -> None:
    labels = torch.tensor([[0, 2, 0, 5, 0, 0]])
    assert get_random_sampling_mask(labels, 0.0).tolist() == [[0, 1, 0, 1, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_hard_negatives_are_the_costliest_of_each_image(seed: int) -> None:
    labels = make_labels(seed)
    loss = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed + 100))
    mask = hard_negatives(loss, labels, 3.0)
    for image, cost, picked in zip(labels, loss, mask, strict=True):
        budget = 3 * int((image > 0).sum())
        expected = sorted(cost[image == 0].tolist(), reverse=True)[:budget]
        assert sorted(cost[(image == 0) & (picked == 1)].tolist(), reverse=True) == expected


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="neg_ratio"):
        get_random_sampling_mask(torch.zeros(1, 4), -1.0)
    with pytest.raises(ValueError, match="one image per row"):
        get_random_sampling_mask(torch.zeros(4), 1.0)
