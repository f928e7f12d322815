"""Boxes, names and scores painted onto a frame."""

from collections.abc import Sequence

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections

BOX_BGR = (80, 220, 60)
TEXT_BGR = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_detections(frame_bgr: UInt8Array, detections: Detections, class_names: Sequence[str]) -> None:
    """Paint every detection onto the frame (H, W, 3), in place; line widths follow the frame's size."""
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    thickness = max(round(2 * unit), 1)
    for xyxy, score, class_id in zip(
        detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
    ):
        x1, y1, x2, y2 = (round(value) for value in xyxy)
        cv2.rectangle(frame_bgr, (x1, y1), (x2, y2), BOX_BGR, thickness, cv2.LINE_AA)
        _label(frame_bgr, f"{class_names[class_id]} {score:.2f}", (x1, y1), unit)


def draw_status(frame_bgr: UInt8Array, text: str) -> None:
    """Paint a line such as the frame rate into the top-left corner, in place."""
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    _label(frame_bgr, text, (0, 0), unit)


def _label(frame_bgr: UInt8Array, text: str, corner_xy: tuple[int, int], unit: float) -> None:
    """Text on a filled plate above the corner, or below it where there is no room above."""
    scale, thickness = 0.5 * unit, max(round(unit), 1)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = round(3 * unit)
    tall = height + baseline + margin
    x = min(max(corner_xy[0], 0), max(frame_bgr.shape[1] - width - 2 * margin, 0))
    y = corner_xy[1] - tall if corner_xy[1] >= tall else corner_xy[1]
    cv2.rectangle(frame_bgr, (x, y), (x + width + 2 * margin, y + tall), BOX_BGR, cv2.FILLED)
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
