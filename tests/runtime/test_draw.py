"""What is painted onto a frame."""

import numpy as np

from mmpnet.contract.detections import Detections
from mmpnet.runtime.draw import draw_detections

NAMES = ("background", "person")


def detections(*scores: float) -> Detections:
    """Boxes in one place, best first, as they come out of NMS."""
    count = len(scores)
    boxes = np.tile(np.array([[40, 60, 200, 220]], np.float32), (count, 1))
    return Detections(boxes, np.array(scores, np.float32), np.ones(count, np.int64))


def test_the_best_label_lies_on_top() -> None:
    together, one_by_one = (np.full((240, 320, 3), 90, np.uint8) for _ in range(2))
    draw_detections(together, detections(0.9, 0.5), NAMES)
    for score in (0.5, 0.9):
        draw_detections(one_by_one, detections(score), NAMES)
    assert (together != 90).any()
    np.testing.assert_array_equal(together, one_by_one)
    draw_detections(one_by_one, detections(0.5), NAMES)
    assert (together != one_by_one).any()


def test_nothing_found_paints_nothing() -> None:
    frame = np.full((240, 320, 3), 90, np.uint8)
    draw_detections(frame, detections(), NAMES)
    assert (frame == 90).all()
