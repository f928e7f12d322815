"""Pixelate detected people."""

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections

MARGIN = 0.1
"""Margin on each side, as a fraction of the box's sides, because hair and hands extend beyond boxes."""
TILES, LONG_TILES, LEAST_TILE_PX = 8, 16, 8.0
"""Mosaic tiles along a box's shorter and longer side, and the smallest tile in px.

A blur can be partly undone; means of large tiles cannot. The longer side matters for people whom the frame cuts off:
it still shows how large they are.
"""


def blur_detections(frame_bgr: UInt8Array, detections: Detections) -> None:
    """Pixelate every box and its margin, in place. People who were not detected stay visible."""
    height, width = frame_bgr.shape[:2]
    for xyxy in detections.xyxy:
        margin = MARGIN * np.tile(xyxy[2:] - xyxy[:2], 2) * (-1, -1, 1, 1)
        x1, y1, x2, y2 = (xyxy + margin).round().astype(int).clip(0, (width, height, width, height))
        if x2 <= x1 or y2 <= y1:
            continue
        inside = frame_bgr[y1:y2, x1:x2]
        sides_px = sorted((float(x2 - x1), float(y2 - y1)))
        tile_px = max(sides_px[0] / TILES, sides_px[1] / LONG_TILES, LEAST_TILE_PX)
        tiles_wh = max(round((x2 - x1) / tile_px), 1), max(round((y2 - y1) / tile_px), 1)
        small = cv2.resize(inside, tiles_wh, interpolation=cv2.INTER_AREA)
        cv2.resize(small, (x2 - x1, y2 - y1), dst=inside, interpolation=cv2.INTER_NEAREST)
