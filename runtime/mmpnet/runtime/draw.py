"""Boxes, names and scores painted onto a frame."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.detections import Detections

Colour: TypeAlias = tuple[int, int, int]
BOX_BGR: Colour = (80, 220, 60)
WARNING_BGR: Colour = (60, 60, 235)
TEXT_BGR = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_detections(
    frame_bgr: UInt8Array, detections: Detections, class_names: Sequence[str], track_ids: IntArray | None = None
) -> None:
    """Paint every detection onto the frame (H, W, 3), in place, with its track id (N,) where it has one.

    Line widths follow the frame's size.
    """
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    thickness = max(round(2 * unit), 1)
    # Best last, so that its label lies on top.
    for row in reversed(range(len(detections))):
        xyxy, name = detections.xyxy[row], class_names[int(detections.class_id[row])]
        if track_ids is not None and track_ids[row] >= 0:
            name = f"{name} {track_ids[row]}"
        draw_box(frame_bgr, xyxy, bgr=BOX_BGR, thickness=thickness)
        draw_label(frame_bgr, f"{name} {float(detections.score[row]):.2f}", xyxy, bgr=BOX_BGR, unit=unit)


def draw_box(frame_bgr: UInt8Array, xyxy: FloatArray, *, bgr: Colour, thickness: int) -> None:
    """Paint one box (4,), in px of the frame (H, W, 3), in place."""
    x1, y1, x2, y2 = (round(value) for value in xyxy.tolist())
    cv2.rectangle(frame_bgr, (x1, y1), (x2, y2), bgr, thickness, cv2.LINE_AA)


def draw_status(frame_bgr: UInt8Array, text: str) -> None:
    """Paint a line such as the frame rate into the top-left corner, in place."""
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    draw_label(frame_bgr, text, np.zeros(4, np.float32), bgr=BOX_BGR, unit=unit)


def draw_warning(frame_bgr: UInt8Array, text: str) -> None:
    """Paint a line that must be seen, and a frame, in red, in place."""
    height, width = frame_bgr.shape[:2]
    unit = max(min(height, width) / 320, 0.8)
    cv2.rectangle(frame_bgr, (0, 0), (width - 1, height - 1), WARNING_BGR, max(round(6 * unit), 2))
    middle = np.array([width / 3, height / 2, 0, 0], np.float32)
    draw_label(frame_bgr, text, middle, bgr=WARNING_BGR, unit=unit)


def draw_label(frame_bgr: UInt8Array, text: str, xyxy: FloatArray, *, bgr: Colour, unit: float) -> None:
    """Paint text on a filled plate above a box's top-left corner, or below it where there is no room above, in place.

    A `unit` of 1 gives letters some 11 px high.
    """
    corner_xy = (round(float(xyxy[0])), round(float(xyxy[1])))
    scale, thickness = 0.5 * unit, max(round(unit), 1)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = round(3 * unit)
    tall = height + baseline + margin
    x = min(max(corner_xy[0], 0), max(frame_bgr.shape[1] - width - 2 * margin, 0))
    y = corner_xy[1] - tall if corner_xy[1] >= tall else corner_xy[1]
    cv2.rectangle(frame_bgr, (x, y), (x + width + 2 * margin, y + tall), bgr, cv2.FILLED)
    cv2.putText(
        frame_bgr,
        text,
        (x + margin, y + height + margin // 2),
        _FONT,
        scale,
        TEXT_BGR,
        thickness,
        cv2.LINE_AA,
    )
