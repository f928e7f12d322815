"""People who walk up and down over a line, without a detector that has to find them."""

import math

import numpy as np

from mmpnet.contract.detections import Detections

PERIOD_S = 4.0
"""Time for one walk up and down: two crossings."""


def scripted_people(time_s: float, count: int, frame_hw: tuple[int, int]) -> Detections:
    """The detections of `count` people at a time: they walk side by side, in the middle of the frame."""
    height_px, width_px = frame_hw
    tall, wide = height_px / 5, height_px / 15
    boxes = []
    for person in range(count):
        phase = 2 * math.pi * (time_s / PERIOD_S + person / max(count, 1))
        feet_x, feet_y = width_px * (person + 1) / (count + 1), height_px * (0.55 + 0.25 * math.sin(phase))
        boxes.append([feet_x - wide / 2, feet_y - tall, feet_x + wide / 2, feet_y])
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(count, 0.8, np.float32), np.ones(count, np.int64))
