"""Near-duplicates between two sets of images: what is measured must not be learned, not even cropped or mirrored.

A hash of 64 bits finds candidates, then the details of two thumbnails are compared. The limits come from an experiment
with 13,223 and 848 photographs (22 million pairs of different images) and with altered copies of 150 to 300 of them:

- About 29,500 pairs of different images differ in at most 16 bits, and none of them in fewer than 6. The largest
  correlation of their details is 0.71. If coarse brightness is not removed before, it is 0.94, because one bright sky
  above a dark ground looks like any other.
- Copies in JPEG quality 30, at half the size, stretched by a fifth, brighter, darker or mirrored differ in at most 13
  bits. Copies without 3 to 10 % of each side have a correlation of at least 0.91; at 16 bits all are found that lack
  up to 5 % of the width and height, 89 % of those that lack 8 %, and 73 % of those that lack 10 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.datasets.types import LabeledImage
from mmpnet.system.progress import Progress, no_progress

MAX_BITS = 16
LEAST_CORRELATION = 0.8
LEAST_DETAIL = 0.5
"""Standard deviation of the details of a thumbnail, in gray levels; less is noise, and similar to nothing."""

_THUMBNAIL_PX = 64
_BORDER_PX = 8
"""The middle of one thumbnail is searched in the other one, which may show a little more or less of the scene."""
_SCALES = (0.85, 0.92, 1.0, 1.09, 1.18)
_FINE_PX, _COARSE_PX = 1.0, 6.0
"""Details lie between these two blurs, whose sigmas they are."""
_NUM_BITS = np.array([value.bit_count() for value in range(256)], np.uint8)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The dHash of an image and of its mirror image (8,) uint8 each, 64 bits; and a gray thumbnail (64, 64) uint8."""

    dhash: UInt8Array
    mirrored_dhash: UInt8Array
    thumbnail: UInt8Array


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two images that show the same: how many bits of their hashes differ, the correlation of their details in [-1, 1],
    and whether one of them is mirrored."""

    learned: LabeledImage
    measured: LabeledImage
    bits: int
    correlation: float
    is_mirrored: bool


def fingerprint(image_bgr: UInt8Array) -> Fingerprint:
    """The fingerprint of an image (H, W, 3)."""
    gray = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    small = np.asarray(cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    thumbnail = cv2.resize(gray, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return Fingerprint(_dhash(small), _dhash(small[:, ::-1]), np.asarray(thumbnail, np.uint8))


def hamming_distances(dhashes: UInt8Array, dhash: UInt8Array) -> IntArray:
    """The number of bits in which each hash (N, 8) differs from one (8,) -> (N,)."""
    return np.asarray(_NUM_BITS[dhashes ^ dhash].sum(axis=1), np.int64)


def detail_correlation(a: UInt8Array, b: UInt8Array) -> float:
    """The best correlation of the middle of thumbnail a with a window of thumbnail b, at several scales of b.

    Brightness that changes slowly over the image is removed before. 0 if one of them has no details.
    """
    middle = _details(a)[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX]
    # OpenCV gives a constant template the correlation 1 with everything.
    if middle.std() < LEAST_DETAIL or _details(b).std() < LEAST_DETAIL:
        return 0.0
    return max(_window_correlation(middle, b, scale) for scale in _SCALES)


def near_duplicates(
    learned: Sequence[LabeledImage],
    measured: Sequence[LabeledImage],
    *,
    max_bits: int = MAX_BITS,
    least_correlation: float = LEAST_CORRELATION,
    progress: Progress = no_progress,
) -> tuple[NearDuplicate, ...]:
    """Every pair of a learned and a measured image that show the same, the most similar ones first.

    Args:
        learned, measured: images; an image that is in both is a pair too.
        max_bits: pairs whose hashes differ in more bits are not compared further.
        least_correlation: pairs whose details correlate less are different images.

    Raises: DatasetError for the first bad image.
    """
    if not learned:
        return ()
    known = [fingerprint(image.read()) for image in progress(learned, "reading the learned images")]
    dhashes = np.stack([one.dhash for one in known])  # (N, 8)
    found: list[NearDuplicate] = []
    for image in progress(measured, "comparing the measured images"):
        one = fingerprint(image.read())
        found += [
            NearDuplicate(learned[index], image, bits, correlation, is_mirrored)
            for index, (bits, correlation, is_mirrored) in _similar(known, dhashes, one, max_bits).items()
            if correlation >= least_correlation
        ]
    return tuple(sorted(found, key=lambda pair: -pair.correlation))


def _similar(
    known: Sequence[Fingerprint], dhashes: UInt8Array, one: Fingerprint, max_bits: int
) -> dict[int, tuple[int, float, bool]]:
    """By index of the known image: bits, correlation, and whether these are those of the mirrored image."""
    similar: dict[int, tuple[int, float, bool]] = {}
    for is_mirrored, dhash in ((False, one.dhash), (True, one.mirrored_dhash)):
        thumbnail = np.ascontiguousarray(one.thumbnail[:, ::-1]) if is_mirrored else one.thumbnail
        bits = hamming_distances(dhashes, dhash)
        for index in np.flatnonzero(bits <= max_bits).tolist():
            correlation = detail_correlation(known[index].thumbnail, thumbnail)
            if index not in similar or correlation > similar[index][1]:
                similar[index] = int(bits[index]), correlation, is_mirrored
    return similar


def _dhash(small: UInt8Array) -> UInt8Array:
    """Whether each pixel of a gray image (8, 9) is brighter than the one to its left, packed (8,)."""
    return np.packbits(small[:, 1:] > small[:, :-1])


def _details(gray: UInt8Array) -> FloatArray:
    values = gray.astype(np.float32)
    fine = cv2.GaussianBlur(values, (0, 0), _FINE_PX)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), _COARSE_PX), np.float32)


def _window_correlation(middle: FloatArray, thumbnail: UInt8Array, scale: float) -> float:
    side = round(_THUMBNAIL_PX * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(thumbnail, (side, side), interpolation=how), np.uint8)
    return float(cv2.matchTemplate(_details(scaled), middle, cv2.TM_CCOEFF_NORMED).max())
