"""Colors of boxes, one per track and class; all are bright enough for dark text."""

from mmpnet.media.plates import Color

COLORS_BGR: tuple[Color, ...] = (
    (80, 220, 60),
    (240, 201, 76),
    (163, 143, 255),
    (113, 248, 249),
    (255, 143, 199),
    (214, 230, 46),
    (107, 159, 255),
    (72, 229, 160),
    (255, 180, 150),
    (224, 140, 247),
    (151, 192, 224),
    (230, 242, 184),
)
"""BGR. The amber of lines and zones and the red of warnings are not among them."""
_STEP = 5
"""Distance of two classes in COLORS_BGR; without a common factor with their number, so that no class repeats early."""


def color_of(class_id: int, track_id: int = -1) -> Color:
    """Color of a box: by its class (from 1, as 0 is the background), and by its track if it has one."""
    return COLORS_BGR[(_STEP * (class_id - 1) + max(track_id - 1, 0)) % len(COLORS_BGR)]
