"""Draw boxes, names and scores onto a frame; windows, files and the web page all show these images."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.media.palette import color_of
from mmpnet.media.plates import Color, Plates, drawing_unit

STATUS_BGR: Color = (225, 225, 225)
WARNING_BGR: Color = (80, 80, 245)
_DIMMED = 0.35


def draw_detections(
    frame_bgr: UInt8Array,
    detections: Detections,
    class_names: Sequence[str],
    track_ids: IntArray | None = None,
    plates: Plates | None = None,
) -> None:
    """Draw every detection onto the frame (H, W, 3), in place, with its track id (N,) if it has one.

    Line widths follow the frame's size. Names and scores go to `plates`, which the caller paints; without it they are
    painted at once.
    """
    own = plates if plates is not None else Plates(_hw(frame_bgr))
    thickness = max(round(2 * drawing_unit(_hw(frame_bgr))), 1)
    ids = [-1] * len(detections) if track_ids is None else track_ids.tolist()
    colors = [color_of(class_id, track) for class_id, track in zip(detections.class_id.tolist(), ids, strict=True)]
    for row, xyxy in enumerate(detections.xyxy):
        name = class_names[int(detections.class_id[row])]
        known = f"{name} {ids[row]}" if ids[row] >= 0 else name
        own.place(f"{known} {float(detections.score[row]):.2f}", xyxy, bgr=colors[row])
    for xyxy, bgr in zip(detections.xyxy[::-1], colors[::-1], strict=True):  # the best is drawn last, on top
        draw_box(frame_bgr, xyxy, bgr=bgr, thickness=thickness)
    if plates is None:
        own.paint(frame_bgr)


def draw_box(frame_bgr: UInt8Array, xyxy: FloatArray, *, bgr: Color, thickness: int) -> None:
    """Draw one box (4,), in px of the frame (H, W, 3), in place."""
    x1, y1, x2, y2 = (round(value) for value in xyxy.tolist())
    cv2.rectangle(frame_bgr, (x1, y1), (x2, y2), bgr, thickness, cv2.LINE_AA)


def place_status(plates: Plates, text: str) -> None:
    """Place a line of text, such as the frame rate, in the top-left corner."""
    plates.place(text, np.zeros(4, np.float32), bgr=STATUS_BGR)


def draw_warning(frame_bgr: UInt8Array, text: str) -> None:
    """Darken a frame (H, W, 3) that is outdated, and draw a red border and a warning text, in place."""
    height, width = _hw(frame_bgr)
    cv2.convertScaleAbs(frame_bgr, frame_bgr, _DIMMED)
    unit = max(min(height, width) / 320, 0.8)
    cv2.rectangle(frame_bgr, (0, 0), (width - 1, height - 1), WARNING_BGR, max(round(6 * unit), 2))
    middle = np.array([width / 3, height / 2, 0, 0], np.float32)
    draw_label(frame_bgr, text, middle, bgr=WARNING_BGR, unit=unit)


def draw_label(frame_bgr: UInt8Array, text: str, xyxy: FloatArray, *, bgr: Color, unit: float) -> None:
    """Draw one text on a filled rectangle at a box's top-left corner, in place; a unit of 1 gives letters of 11 px."""
    plates = Plates(_hw(frame_bgr), unit=unit)
    plates.place(text, xyxy, bgr=bgr)
    plates.paint(frame_bgr)


def _hw(frame_bgr: UInt8Array) -> tuple[int, int]:
    return frame_bgr.shape[0], frame_bgr.shape[1]
