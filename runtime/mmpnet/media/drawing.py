"""Draw boxes, names and scores onto a frame."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.text import well_formed

Color: TypeAlias = tuple[int, int, int]
BOX_BGR: Color = (80, 220, 60)
WARNING_BGR: Color = (60, 60, 235)
TEXT_BGR = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_detections(
    frame_bgr: UInt8Array, detections: Detections, class_names: Sequence[str], track_ids: IntArray | None = None
) -> None:
    """Draw every detection onto the frame (H, W, 3), in place, with its track id (N,) if it has one.

    Line widths follow the frame's size.
    """
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    thickness = max(round(2 * unit), 1)
    labels: list[TextLabel] = []
    for row, xyxy in enumerate(detections.xyxy):
        name = class_names[int(detections.class_id[row])]
        if track_ids is not None and track_ids[row] >= 0:
            name = f"{name} {track_ids[row]}"
        labels.append(
            _place_label(frame_bgr, f"{name} {float(detections.score[row]):.2f}", xyxy, unit=unit, taken=labels)
        )
    # The best detection is drawn last, on top; all boxes come before all labels, so that no line crosses a text.
    for xyxy in detections.xyxy[::-1]:
        draw_box(frame_bgr, xyxy, bgr=BOX_BGR, thickness=thickness)
    for label in reversed(labels):
        label.paint(frame_bgr, BOX_BGR)


def draw_box(frame_bgr: UInt8Array, xyxy: FloatArray, *, bgr: Color, thickness: int) -> None:
    """Draw one box (4,), in px of the frame (H, W, 3), in place."""
    x1, y1, x2, y2 = (round(value) for value in xyxy.tolist())
    cv2.rectangle(frame_bgr, (x1, y1), (x2, y2), bgr, thickness, cv2.LINE_AA)


def draw_status(frame_bgr: UInt8Array, text: str) -> None:
    """Draw a line of text, such as the frame rate, in the top-left corner, in place."""
    unit = max(min(frame_bgr.shape[:2]) / 480, 0.6)
    draw_label(frame_bgr, text, np.zeros(4, np.float32), bgr=BOX_BGR, unit=unit)


def draw_warning(frame_bgr: UInt8Array, text: str) -> None:
    """Draw a red border and a warning text, in place."""
    height, width = frame_bgr.shape[:2]
    unit = max(min(height, width) / 320, 0.8)
    cv2.rectangle(frame_bgr, (0, 0), (width - 1, height - 1), WARNING_BGR, max(round(6 * unit), 2))
    middle = np.array([width / 3, height / 2, 0, 0], np.float32)
    draw_label(frame_bgr, text, middle, bgr=WARNING_BGR, unit=unit)


def draw_label(
    frame_bgr: UInt8Array, text: str, xyxy: FloatArray, *, bgr: Color, unit: float, taken: "Sequence[TextLabel]" = ()
) -> "TextLabel":
    """Draw text on a filled rectangle above a box's top-left corner, in place, and return the rectangle.

    If there is no room above, it is drawn below; if it would overlap one of `taken`, at another corner of the box.

    A `unit` of 1 gives letters about 11 px high.
    """
    label = _place_label(frame_bgr, text, xyxy, unit=unit, taken=taken)
    label.paint(frame_bgr, bgr)
    return label


@dataclass(frozen=True, slots=True)
class TextLabel:
    """A text and the rectangle that it is drawn on, in px of the frame."""

    text: str
    left: int
    top: int
    width: int
    height: int
    text_height: int
    unit: float

    def overlaps(self, other: "TextLabel") -> bool:
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )

    def paint(self, frame_bgr: UInt8Array, bgr: Color) -> None:
        margin = round(3 * self.unit)
        right, bottom = self.left + self.width, self.top + self.height
        cv2.rectangle(frame_bgr, (self.left, self.top), (right, bottom), bgr, cv2.FILLED)
        cv2.putText(
            frame_bgr,
            self.text,
            (self.left + margin, self.top + self.text_height + margin // 2),
            _FONT,
            0.5 * self.unit,
            TEXT_BGR,
            max(round(self.unit), 1),
            cv2.LINE_AA,
        )


def _place_label(
    frame_bgr: UInt8Array, text: str, xyxy: FloatArray, *, unit: float, taken: Sequence[TextLabel]
) -> TextLabel:
    """Place a label above the box's left corner or inside it; if that overlaps `taken`, at another corner."""
    frame_h, frame_w = frame_bgr.shape[:2]
    text = well_formed(text)
    x1, y1, x2, y2 = (round(value) for value in xyxy.tolist())
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, 0.5 * unit, max(round(unit), 1))
    margin = round(3 * unit)
    width, height = text_width + 2 * margin, text_height + baseline + margin
    first = y1 - height if y1 >= height else y1
    places = (
        TextLabel(text, min(max(left, 0), max(frame_w - width, 0)), top, width, height, text_height, unit)
        for top in (first, y1, y2 - height, y2)
        for left in (x1, x2 - width)
        if top == first or top + height <= frame_h
    )
    best = next(places)
    return next((one for one in itertools.chain([best], places) if not any(map(one.overlaps, taken))), best)
