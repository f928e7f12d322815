"""Code shared by all formats: the check of a box, the hash over files, and the collection of faults."""

import hashlib

import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.checked_labels import checked_xyxy
from mmpnet.datasets.faults import STRICT, Faults
from mmpnet.datasets.formats._folders import sha256_of

IMAGE_HW = (30, 40)


@pytest.mark.parametrize("side", range(4))
def test_a_box_may_stick_out_by_a_pixel_and_no_more(side: int) -> None:
    inside = [0.0, 0.0, 40.0, 30.0]
    outward = -1 if side < 2 else 1

    def check(by_px: float) -> tuple[float, ...]:
        box = [value + outward * by_px * (index == side) for index, value in enumerate(inside)]
        return checked_xyxy((box[0], box[1], box[2], box[3]), IMAGE_HW, stated=box, where="a.txt:1: box")

    assert check(1.0) == tuple(inside)
    with pytest.raises(DatasetError, match=r"^a\.txt:1: box extends beyond its 40x30 px image by 1\.1 px"):
        check(1.1)


def test_faults_are_noted_or_raised_and_other_errors_pass() -> None:
    def read(faults: Faults, error: Exception) -> None:
        with faults:
            raise error

    collected = Faults(collect=True)
    for number in (1, 2):
        read(collected, DatasetError(f"a.txt:{number}: bad"))
    assert collected.found == ["a.txt:1: bad", "a.txt:2: bad"]
    with pytest.raises(DatasetError, match="bad"):
        read(STRICT, DatasetError("bad"))
    assert STRICT.found == []
    for faults in (collected, STRICT):
        with pytest.raises(KeyError):
            read(faults, KeyError("a defect of ours"))


def test_the_hash_is_over_names_and_contents_in_order_of_names() -> None:
    def field(part: bytes) -> bytes:
        return len(part).to_bytes(8, "big") + part

    files = [("b.txt", b"2"), ("a.txt", b"")]
    expected = hashlib.sha256(field(b"a.txt") + field(b"") + field(b"b.txt") + field(b"2")).hexdigest()
    assert sha256_of(files) == sha256_of(reversed(files)) == expected
    assert sha256_of([("a", b"bc")]) != sha256_of([("ab", b"c")]), "nothing shifts between name and content"
