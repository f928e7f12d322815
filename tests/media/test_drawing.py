"""Drawing onto a frame."""

import numpy as np

from mmpnet.contract.arrays import BoolArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.media.drawing import BOX_BGR, draw_box, draw_detections

NAMES = ("background", "person")


def detections(*scores: float) -> Detections:
    """Boxes in one place, best first, as NMS returns them."""
    count = len(scores)
    boxes = np.tile(np.array([[40, 60, 200, 220]], np.float32), (count, 1))
    return Detections(boxes, np.array(scores, np.float32), np.ones(count, np.int64))


def green(frame: UInt8Array) -> BoolArray:
    return np.asarray((frame == BOX_BGR).all(axis=2))


def test_labels_of_boxes_in_one_place_lie_beside_each_other() -> None:
    alone, together = (np.full((240, 320, 3), 90, np.uint8) for _ in range(2))
    draw_detections(alone, detections(0.9), NAMES)
    draw_detections(together, detections(0.9, 0.5, 0.3), NAMES)
    box = np.full((240, 320, 3), 90, np.uint8)
    draw_box(box, detections(0.9).xyxy[0], bgr=BOX_BGR, thickness=1)
    plate = (green(alone) & ~green(box)).sum()
    assert (green(together) & ~green(box)).sum() > 2.5 * plate


def test_where_no_place_is_left_the_best_label_lies_on_top() -> None:
    frames = [np.full((240, 320, 3), 90, np.uint8) for _ in range(2)]
    draw_detections(frames[0], detections(*([0.9] + [0.5] * 20)), NAMES)
    draw_detections(frames[1], detections(*[0.5] * 21), NAMES)
    assert (frames[0] != frames[1]).any()


def test_no_box_crosses_a_label() -> None:
    low = Detections(
        np.array([[40, 60, 200, 220], [20, 55, 300, 200]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.ones(2, int),
    )
    frame, alone, box = (np.full((240, 320, 3), 90, np.uint8) for _ in range(3))
    draw_detections(frame, low, NAMES)
    draw_detections(alone, low[np.array([True, False])], NAMES)
    draw_box(box, low.xyxy[0], bgr=BOX_BGR, thickness=1)
    plate = (alone != box).any(axis=2)
    assert plate.sum() > 500
    np.testing.assert_array_equal(frame[plate], alone[plate])


def test_nothing_found_paints_nothing() -> None:
    frame = np.full((240, 320, 3), 90, np.uint8)
    draw_detections(frame, detections(), NAMES)
    assert (frame == 90).all()
