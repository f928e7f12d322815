"""Convert images of 16 bits per channel to 8 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import UInt8Array

NARROW = 1 << 14
"""An image that uses fewer of the 65536 values is stretched: thermal cameras use a few thousand."""


def to_8_bits(values: NDArray[Any]) -> UInt8Array:
    """An image (H, W) or (H, W, C) uint16 as uint8: its upper byte, or stretched if it uses a narrow range of values.

    The upper byte of a thermal image would have ten different values.
    """
    low, high = (float(bound) for bound in np.percentile(values, (0.1, 99.9)))
    if not 0 < high - low < NARROW:
        return np.asarray(values >> 8, np.uint8)
    return ((values.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
