"""Measure and draw text, in a font whose zeros have no slash.

OpenCV 4 has vector fonts only, whose zeros are plain. OpenCV 5 replaces them by a font with slashed zeros, which are
hard to read at small sizes; of its other fonts, only `uni` has plain ones.
"""

import threading
from typing import Any

import cv2

from mmpnet.contract.arrays import UInt8Array

_VECTOR_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SCALE, _SIZE_PX = 0.5, 15
_HAS_FONT_FACE = hasattr(cv2, "FontFace")
_faces = threading.local()


def text_size(text: str, unit: float) -> tuple[int, int, int]:
    """Width, height above the baseline and height below it of a text, in px; a unit of 1 gives letters 11 px high."""
    if _HAS_FONT_FACE:
        size = _pixels(unit)
        _, top, width, height = cv2.getTextSize((0, 0), text, (0, 0), _face(), size)
        return width, -top, height + top
    (width, above), below = cv2.getTextSize(text, _VECTOR_FONT, _SCALE * unit, _thickness(unit))
    return width, above, below


def draw_text(
    frame_bgr: UInt8Array, text: str, left_baseline_xy: tuple[int, int], *, bgr: tuple[int, int, int], unit: float
) -> None:
    """Draw a text from the left end of its baseline, in px of the frame (H, W, 3), in place."""
    if _HAS_FONT_FACE:
        cv2.putText(frame_bgr, text, left_baseline_xy, bgr, _face(), _pixels(unit), 500)
    else:
        cv2.putText(frame_bgr, text, left_baseline_xy, _VECTOR_FONT, _SCALE * unit, bgr, _thickness(unit), cv2.LINE_AA)


def _face() -> Any:
    # Loaded once per thread, as OpenCV does not say whether threads may share one.
    if not hasattr(_faces, "uni"):
        _faces.uni = cv2.FontFace("uni")
    return _faces.uni


def _pixels(unit: float) -> int:
    return max(round(_SIZE_PX * unit), 6)


def _thickness(unit: float) -> int:
    return max(round(unit), 1)
