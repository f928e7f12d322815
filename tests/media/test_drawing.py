"""Drawing onto a frame."""

import numpy as np
import pytest

from mmpnet.contract.arrays import BoolArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.media.drawing import draw_box, draw_detections
from mmpnet.media.palette import COLORS_BGR, color_of
from mmpnet.media.plates import TEXT_BGR, Plates
from mmpnet.media.text_renderer import draw_text, text_size

NAMES = ("background", "person", "dog")
BOX_BGR = color_of(1)


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


def test_where_no_place_is_left_the_best_label_is_drawn_and_others_are_left_out() -> None:
    frames = [np.full((240, 320, 3), 90, np.uint8) for _ in range(2)]
    draw_detections(frames[0], detections(*([0.9] + [0.5] * 50)), NAMES)
    draw_detections(frames[1], detections(*[0.5] * 51), NAMES)
    assert (frames[0] != frames[1]).any()
    plates = Plates((240, 320))
    placed = [plates.place(f"person {n}", detections(0.9).xyxy[0], bgr=BOX_BGR) for n in range(51)]
    assert placed[0]
    assert not placed[-1]


@pytest.mark.parametrize("seed", range(5))
def test_plates_cover_neither_one_another_nor_the_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (240, 320) if seed % 2 else (48, 64)
    plates = Plates((height, width))
    for n in range(60):
        xy = rng.uniform((-40, -40), (width + 20, height + 20))
        xyxy = np.concatenate([xy, xy + rng.uniform(2, 150, 2)]).astype(np.float32)
        plates.place(f"person {n} 0.80", xyxy, bgr=BOX_BGR)
    found = plates.rectangles
    assert len(found) > (5 if seed % 2 else 0)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= (width, height)).all()
    covered = np.zeros((height, width), np.int64)
    for x1, y1, x2, y2 in found:
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1
    frame = np.zeros((height, width, 3), np.uint8)
    plates.paint(frame)
    assert not frame[covered == 0].any(), "texts stay on their plates"


def test_a_track_keeps_its_color_and_differs_from_its_neighbors_and_other_classes() -> None:
    assert color_of(1, 7) == color_of(1, 7)
    neighbors = {color_of(1, track) for track in range(1, len(COLORS_BGR) + 1)}
    assert len(neighbors) == len(COLORS_BGR)
    assert len({color_of(class_id) for class_id in range(1, 6)}) == 5
    assert color_of(1, 3) != color_of(2, 3)


def test_every_color_is_bright_enough_for_its_text() -> None:
    def luminance(bgr: tuple[int, int, int]) -> float:
        linear = [(value / 255 / 12.92) if value < 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in bgr]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    for bgr in COLORS_BGR:
        assert (luminance(bgr) + 0.05) / (luminance(TEXT_BGR) + 0.05) > 7, "the contrast that WCAG AAA asks for"


def test_a_zero_has_no_slash() -> None:
    width, above, below = text_size("0", 4.0)
    frame = np.full((above + below + 8, width + 8, 3), 255, np.uint8)
    draw_text(frame, "0", (4, above + 4), bgr=(0, 0, 0), unit=4.0)
    rows, columns = np.nonzero(frame[:, :, 0] < 128)
    middle_y, middle_x = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    assert (frame[middle_y - 4 : middle_y + 5, middle_x - 2 : middle_x + 3] > 200).all()


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
