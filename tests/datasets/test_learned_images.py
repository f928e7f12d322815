"""No image that the shipped model learned from shows the same as one that measures it.

The images are not part of this repository, but the hashes of 13,223 learned and all 848 measured ones are:
`benchmarks/near_duplicates.py --hashes`. Copies differ in at most 13 bits, most of them in few, and no two different
images of these sets in fewer than 6, by the experiment that `mmpnet.datasets.near_duplicates` describes. The script,
which has the images, also finds the copies that differ in 6 to 16 bits.
"""

from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.datasets.near_duplicates import hamming_distances

HASHES = Path(__file__).parents[2] / "benchmarks" / "results" / "2026-11-30-learned-hashes.npz"
LEAST_BITS = 6
"""Different images differ in at least this many of 64 bits."""


@pytest.fixture(scope="module")
def hashes() -> dict[str, UInt8Array]:
    """`learned` (N, 8), `measured` (M, 8), and those of the mirrored measured images (M, 8)."""
    with np.load(HASHES) as stored:
        return dict(stored)


def nearest_bits(learned: UInt8Array, measured: UInt8Array) -> list[int]:
    """For each measured image the bits in which the nearest learned one differs."""
    return [int(hamming_distances(learned, dhash).min()) for dhash in measured]


def test_every_image_has_its_hash(hashes: dict[str, UInt8Array]) -> None:
    assert hashes["learned"].shape == (13_223, 8)
    assert hashes["measured"].shape == hashes["measured_mirrored"].shape == (848, 8)


@pytest.mark.parametrize("which", ["measured", "measured_mirrored"])
def test_no_learned_image_is_a_copy_of_a_measured_one(hashes: dict[str, UInt8Array], which: str) -> None:
    assert min(nearest_bits(hashes["learned"], hashes[which])) >= LEAST_BITS


@pytest.mark.parametrize("changed_bits", [0, 3])
def test_one_copy_among_them_would_be_found(hashes: dict[str, UInt8Array], changed_bits: int) -> None:
    copy = hashes["measured"][400].copy()
    copy[0] ^= (1 << changed_bits) - 1
    learned = np.concatenate([hashes["learned"], copy[None]])
    assert min(nearest_bits(learned, hashes["measured"])) == changed_bits < LEAST_BITS
