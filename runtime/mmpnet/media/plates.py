"""Texts on filled rectangles that never cover one another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.text import well_formed
from mmpnet.media.text_renderer import draw_text, text_size

Color: TypeAlias = tuple[int, int, int]
TEXT_BGR: Color = (20, 20, 20)
_FARTHEST = 3
"""How far from its box a plate may be moved, in heights of a plate."""


@dataclass(frozen=True, slots=True)
class Plate:
    """A text and the rectangle that it is drawn on, in px of the frame."""

    text: str
    left: int
    top: int
    width: int
    height: int
    above: int
    unit: float
    bgr: Color

    def paint(self, frame_bgr: UInt8Array) -> None:
        """Draw the plate onto the frame (H, W, 3), in place."""
        right, bottom = self.left + self.width - 1, self.top + self.height - 1
        cv2.rectangle(frame_bgr, (self.left, self.top), (right, bottom), self.bgr, cv2.FILLED)
        margin = _margin(self.unit)
        place_xy = self.left + margin, self.top + margin // 2 + self.above
        draw_text(frame_bgr, self.text, place_xy, bgr=TEXT_BGR, unit=self.unit)


class Plates:
    """The plates of one frame (height, width). Each place is given once, so place the most important plate first."""

    def __init__(self, frame_hw: tuple[int, int], *, unit: float | None = None) -> None:
        self._frame_hw = frame_hw
        self._unit = drawing_unit(frame_hw) if unit is None else unit
        self._plates: list[Plate] = []

    def place(self, text: str, xyxy: FloatArray, *, bgr: Color) -> bool:
        """Place a text above a box's left corner, else at another corner, else as near to the box as possible.

        Returns False if there is no free place near the box; the text is then left out.
        """
        frame_h, frame_w = self._frame_hw
        text, margin = well_formed(text), _margin(self._unit)
        width, above, below = text_size(text, self._unit)
        width, height = min(width + 2 * margin, frame_w), min(above + below + margin, frame_h)
        corners = [round(value) for value in xyxy.tolist()]
        for left, top in _places(corners, width, height):
            # A box may reach out of the frame, a plate may not.
            inside = min(max(left, 0), frame_w - width), min(max(top, 0), frame_h - height)
            if abs(inside[1] - top) < height and not self._covers(*inside, width, height):
                self._plates.append(Plate(text, *inside, width, height, above, self._unit, bgr))
                return True
        return False

    def paint(self, frame_bgr: UInt8Array) -> None:
        """Draw all plates onto the frame (H, W, 3), in place, after everything that they must not be hidden by."""
        for plate in self._plates:
            plate.paint(frame_bgr)

    @property
    def rectangles(self) -> NDArray[np.int64]:
        """The rectangles of the plates, xyxy (N, 4), half-open, in px of the frame."""
        corners = [(p.left, p.top, p.left + p.width, p.top + p.height) for p in self._plates]
        return np.array(corners, np.int64).reshape(-1, 4)

    def _covers(self, left: int, top: int, width: int, height: int) -> bool:
        return any(
            left < p.left + p.width and p.left < left + width and top < p.top + p.height and p.top < top + height
            for p in self._plates
        )


def drawing_unit(frame_hw: tuple[int, int]) -> float:
    """The scale of lines and letters on a frame (height, width): 1 for a shorter side of 480 px."""
    return max(min(frame_hw) / 480, 0.6)


def _places(corners: list[int], width: int, height: int) -> Iterator[tuple[int, int]]:
    """Left and top of the places to try for a plate of this size, best first."""
    x1, y1, x2, y2 = corners
    yield x1, y1 - height if y1 >= height else y1
    for top in (y1 - height, y1, y2 - height, y2):
        for left in (x1, x2 - width):
            yield left, top
    for step in range(1, _FARTHEST + 1):
        for top in (y1 - height - step * height, y1 + step * height, y2 + step * height):
            for left in (x1, x2 - width):
                yield left, top
        for top in (y1 - height, y1, y2 - height, y2):
            for left in (x1 - step * width // 2, x2 + (step - 2) * width // 2):
                yield left, top


def _margin(unit: float) -> int:
    return max(round(3 * unit), 1)
