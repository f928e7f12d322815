"""People made unrecognisable."""

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections

MARGIN = 0.1
"""Of a box's sides, on each of them: hair and hands stand out of boxes."""
TILES = 8
"""Mosaic tiles along a box's shorter side. A blur can be undone in part; means of tiles keep nothing to undo."""


def blur_detections(frame_bgr: UInt8Array, detections: Detections) -> None:
    """Lay a mosaic of TILES tiles over every box and its margin, in place. Who was not found stays visible."""
    height, width = frame_bgr.shape[:2]
    for xyxy in detections.xyxy:
        margin = MARGIN * np.tile(xyxy[2:] - xyxy[:2], 2) * (-1, -1, 1, 1)
        x1, y1, x2, y2 = (xyxy + margin).round().astype(int).clip(0, (width, height, width, height))
        if x2 <= x1 or y2 <= y1:
            continue
        inside = frame_bgr[y1:y2, x1:x2]
        tile = max(min(x2 - x1, y2 - y1) / TILES, 1.0)
        tiles_wh = max(round((x2 - x1) / tile), 1), max(round((y2 - y1) / tile), 1)
        small = cv2.resize(inside, tiles_wh, interpolation=cv2.INTER_AREA)
        cv2.resize(small, (x2 - x1, y2 - y1), dst=inside, interpolation=cv2.INTER_NEAREST)
