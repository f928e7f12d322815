"""A contact sheet of pairs of images: the learned one on the left, the measured one on the right."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.datasets.near_duplicates import NearDuplicate

MOST_PAIRS = 60
_COLUMNS = 4
_SIDE_PX, _CAPTION_PX, _GAP_PX = 180, 18, 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def pair_sheet(pairs: Sequence[NearDuplicate]) -> UInt8Array:
    """The first MOST_PAIRS pairs on a white page (H, W, 3); a mirrored measured image is mirrored back.

    Raises: ValueError without pairs, DatasetError if an image has become unreadable.
    """
    if not pairs:
        raise ValueError("a contact sheet needs at least one pair")
    tiles = [_tile(pair) for pair in pairs[:MOST_PAIRS]]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    columns = min(_COLUMNS, len(tiles))
    rows = [np.concatenate(tiles[start : start + columns], axis=1) for start in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def _tile(pair: NearDuplicate) -> UInt8Array:
    measured = pair.measured.read()
    both = [_fitted(pair.learned.read()), _fitted(measured[:, ::-1] if pair.is_mirrored else measured)]
    images = np.concatenate(both, axis=1)
    caption = np.full((_CAPTION_PX, images.shape[1], 3), 255, np.uint8)
    text = f"{pair.bits} bits, correlation {pair.correlation:.2f}{', mirrored' if pair.is_mirrored else ''}"
    cv2.putText(caption, text, (2, 13), _FONT, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    tile = np.concatenate([images, caption])
    return np.pad(tile, ((_GAP_PX, _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0)), constant_values=255)


def _fitted(image_bgr: UInt8Array) -> UInt8Array:
    """The image in the top left corner of a gray square."""
    scale = _SIDE_PX / max(image_bgr.shape[:2])
    width, height = (max(round(side * scale), 1) for side in image_bgr.shape[1::-1])
    square = np.full((_SIDE_PX, _SIDE_PX, 3), 200, np.uint8)
    square[:height, :width] = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_AREA)
    return square
