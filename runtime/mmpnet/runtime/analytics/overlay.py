"""Draw lines and zones with their counts onto a frame."""

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.plates import Color, Plates, drawing_unit
from mmpnet.runtime.analytics.counting import LineCount, PeopleCounter, Points, ZoneCount

COUNT_BGR: Color = (60, 190, 255)
_ARROW_PX = 24


def draw_counts(frame_bgr: UInt8Array, counter: PeopleCounter, plates: Plates | None = None) -> None:
    """Draw the lines and zones onto their frame (H, W, 3), in place.

    Their names and counts go to `plates`, which the caller paints; without it they are painted at once.
    """
    frame_hw = frame_bgr.shape[0], frame_bgr.shape[1]
    unit = drawing_unit(frame_hw)
    own = plates if plates is not None else Plates(frame_hw)
    for zone in counter.zones:
        _draw_zone(frame_bgr, zone, own, unit=unit)
    for line in counter.lines:
        _draw_line(frame_bgr, line, own, unit=unit)
    if plates is None:
        own.paint(frame_bgr)


def _draw_line(frame_bgr: UInt8Array, line: LineCount, plates: Plates, *, unit: float) -> None:
    """Draw the line, and an arrow from its middle to the side that counts as in."""
    start, end = line.points_px
    middle, along = (start + end) / 2, (end - start) / np.hypot(*(end - start))
    to_right = np.array([-along[1], along[0]])
    thickness = max(round(2 * unit), 1)
    cv2.line(frame_bgr, _pixel(start), _pixel(end), COUNT_BGR, thickness, cv2.LINE_AA)
    tip = middle + _ARROW_PX * unit * to_right
    cv2.arrowedLine(frame_bgr, _pixel(middle), _pixel(tip), COUNT_BGR, thickness, cv2.LINE_AA, tipLength=0.4)
    _place_text(f"{line.name}: {line.in_count} in, {line.out_count} out", start, plates)


def _draw_zone(frame_bgr: UInt8Array, zone: ZoneCount, plates: Plates, *, unit: float) -> None:
    corners = np.round(zone.points_px).astype(np.int32)
    cv2.polylines(frame_bgr, [corners], True, COUNT_BGR, max(round(2 * unit), 1), cv2.LINE_AA)
    text = f"{zone.name}: {zone.count} now, {zone.in_count} in, {zone.out_count} out"
    _place_text(text, zone.points_px.min(axis=0), plates)


def _place_text(text: str, place_xy: Points, plates: Plates) -> None:
    plates.place(text, np.tile(place_xy, 2).astype(np.float32), bgr=COUNT_BGR)


def _pixel(place_xy: Points) -> tuple[int, int]:
    return round(float(place_xy[0])), round(float(place_xy[1]))
