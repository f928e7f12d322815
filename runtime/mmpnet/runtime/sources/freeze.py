"""Detect frozen sources: streams that repeat the same image."""

import numpy as np

from mmpnet.contract.arrays import UInt8Array

_ROWS = 4
"""Every n-th row of an image is kept for the comparison with the next one: images that differ do so in many rows."""


class FrozenFrameDetector:
    """Detects a source that repeats exactly the same image, which a working sensor never does."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._last: UInt8Array | None = None
        self._since_s = 0.0

    def is_frozen(self, pixels_bgr: UInt8Array, now_s: float) -> bool:
        """Whether this image (H, W, 3) has been repeated for the allowed time."""
        last, self._last = self._last, pixels_bgr
        if last is None or not repeats(last, pixels_bgr):
            self._since_s = now_s
        return now_s - self._since_s >= self._after_s


class FirstChange:
    """Watches for the first image of a source that differs from the images before it.

    A decoder that does nothing gives the same image again and again: what was in its memory.
    """

    def __init__(self) -> None:
        self.changed = False
        self.count = 0
        self._first: UInt8Array | None = None

    def look(self, pixels_bgr: UInt8Array) -> None:
        """Take the next image (H, W, 3)."""
        self.count += 1
        if self._first is None:
            self._first = pixels_bgr
        elif not self.changed:
            self.changed = not repeats(self._first, pixels_bgr)


class LastImage:
    """Tells whether an image is equal to the one before it."""

    def __init__(self) -> None:
        self._rows: UInt8Array | None = None

    def is_repeated_by(self, pixels_bgr: UInt8Array) -> bool:
        """Whether this image (H, W, 3) is equal to that of the call before; False for the first one."""
        is_repeated = self.equals(pixels_bgr)
        self._rows = pixels_bgr[::_ROWS].copy()  # the caller may change what it gets
        return is_repeated

    def equals(self, pixels_bgr: UInt8Array) -> bool:
        """Whether this image (H, W, 3) is equal to the one that was taken last, which stays the last one."""
        return self._rows is not None and repeats(self._rows, pixels_bgr[::_ROWS])


def repeats(first: UInt8Array, second: UInt8Array) -> bool:
    """Whether two images are equal to the byte."""
    # A few pixels distinguish most frames; the others are compared only if these are equal.
    return np.array_equal(first[::32, ::32], second[::32, ::32]) and np.array_equal(first, second)
