"""Near-duplicates among the frames of a fixed camera: the same scene with the same people."""

from collections import deque

import numpy as np

from mmpnet.collect.interest import changed_share
from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.datasets.near_duplicates import MAX_BITS, Fingerprint, hamming_distances

COMPARED_IMAGES = 1000
"""A new frame is compared with this number of last images, so that memory and time stay bounded."""
SAME_SHARE = 0.01
"""Two thumbnails show the same if at most this share of their pixels differs clearly."""
SAME_IOU = 0.8
"""A person stands where the other image has one if their boxes have at least this IoU."""


class SeenImages:
    """The perceptual hashes, thumbnails and boxes of the last images that were kept.

    All images of a fixed camera have nearly the same hash, so thumbnails and boxes are compared too: a far person is
    smaller than a pixel of a thumbnail.
    """

    def __init__(self) -> None:
        self._images: deque[tuple[Fingerprint, FloatArray]] = deque(maxlen=COMPARED_IMAGES)

    def add(self, seen: Fingerprint, boxes_xyxy: FloatArray) -> None:
        """Remember an image and its boxes (N, 4)."""
        self._images.append((seen, boxes_xyxy))

    def has_near_duplicate(self, seen: Fingerprint, boxes_xyxy: FloatArray) -> bool:
        """Whether one of the images shows the same scene with people at the same places."""
        if not self._images:
            return False
        bits = hamming_distances(np.stack([one.dhash for one, _ in self._images]), seen.dhash)
        near = [self._images[index] for index in np.flatnonzero(bits <= MAX_BITS).tolist()]
        near = [(one, boxes) for one, boxes in near if _same_places(boxes, boxes_xyxy)]
        if not near:
            return False
        shares = changed_share(np.stack([one.thumbnail for one, _ in near]), seen.thumbnail)
        return bool((shares <= SAME_SHARE).any())


def _same_places(a_xyxy: FloatArray, b_xyxy: FloatArray) -> bool:
    if len(a_xyxy) != len(b_xyxy):
        return False
    if not len(a_xyxy):
        return True
    same = pairwise_iou(a_xyxy, b_xyxy) >= SAME_IOU
    return bool(same.any(axis=0).all() and same.any(axis=1).all())
