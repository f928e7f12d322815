"""Boxes that CVAT rotates: an upright box around them is what a detector of upright boxes learns."""

import math
from pathlib import Path

from mmpnet.contract.text import counted
from mmpnet.datasets.checked_labels import XYXY


def around_rotated(xyxy: XYXY, degrees: float, image_hw: tuple[int, int]) -> XYXY:
    """The smallest upright box around a box that is rotated about its center, within its image of (height, width) px.

    A box without rotation is returned as it is.
    """
    if degrees % 360 == 0:
        return xyxy
    x1, y1, x2, y2 = xyxy
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_w = ((x2 - x1) * cos + (y2 - y1) * sin) / 2
    half_h = ((x2 - x1) * sin + (y2 - y1) * cos) / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    height, width = image_hw
    return max(cx - half_w, 0.0), max(cy - half_h, 0.0), min(cx + half_w, float(width)), min(cy + half_h, float(height))


def rotation_note(path: Path, count: int) -> list[str]:
    """A note about rotated boxes; empty if there are none."""
    if not count:
        return []
    return [f"{path}: {counted(count, 'box', ('is', 'are'))} rotated; the upright boxes around them are taken"]
