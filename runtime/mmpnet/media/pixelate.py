"""Pixelate people."""

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections

MARGIN = 0.1
"""Of a box's sides, on each of them: hair and hands stand out of boxes."""
TILES, LONG_TILES, LEAST_TILE_PX = 8, 16, 8.0
"""So many mosaic tiles along a box's shorter and longer side, and no tile smaller than this.

A blur can be undone in part; means of tiles keep nothing to undo, if they are large. Of somebody whom the frame cuts
off the longer side still tells the size.
"""


def blur_detections(frame_bgr: UInt8Array, detections: Detections) -> None:
    """Lay a mosaic over every box and its margin, in place. Who was not found stays visible."""
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
