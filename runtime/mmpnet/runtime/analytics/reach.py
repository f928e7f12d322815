"""Find lines and zones that cannot count because of where they are: too near an edge of the frame, or too narrow."""

import numpy as np

from mmpnet.runtime.analytics.counting import CLEAR, LineCount, PeopleCounter, Points, ZoneCount

SMALLEST = 0.02
"""Boxes below this fraction of the frame's height are too small to be detected."""
SMALL = 0.1
"""A line is reported if it counts only boxes below this fraction of the frame's height: most people are taller."""
_STEPS = 12
_GRID = 101


def reach_notes(counter: PeopleCounter) -> list[str]:
    """A sentence for each line that counts nobody or only small boxes, and for each zone that does so for who enters
    and leaves."""
    frame_hw = counter.frame_hw
    frame = f"the frame of {frame_hw[1]}x{frame_hw[0]} px"
    notes = []
    for line in counter.lines:
        height_px = tallest_counted_px(line, frame_hw)
        if height_px is None or height_px < SMALL * frame_hw[0]:
            whom = "anybody" if height_px is None else f"boxes of more than {height_px:.0f} px in height"
            notes.append(
                f"{line.name}: is too near an edge of {frame} to count {whom}; the middle of a box's lower edge must "
                "be seen on both sides of a line, a tenth of the box's height away from it; move the line inwards"
            )
    for zone in counter.zones:
        height_px = tallest_entering_px(zone)
        if height_px < SMALL * frame_hw[0]:
            notes.append(
                f"{zone.name}: is too narrow in {frame} to count boxes of more than {height_px:.0f} px in height as "
                "entering and leaving; the middle of a box's lower edge must be seen inside, a tenth of the box's "
                "height from each edge; make the zone larger, or use a line"
            )
    return notes


def tallest_counted_px(line: LineCount, frame_hw: tuple[int, int]) -> float | None:
    """Height of the tallest box that can cross a line and be clear of it on both sides; None if it is below SMALLEST.

    What is true of a box is also true of lower ones: their feet can be in more places, and are clear of a line sooner.
    """
    low_px, high_px = SMALLEST * frame_hw[0], float(frame_hw[0])
    if not _counts(line, low_px, frame_hw):
        return None
    for _ in range(_STEPS):
        middle_px = (low_px + high_px) / 2
        low_px, high_px = (middle_px, high_px) if _counts(line, middle_px, frame_hw) else (low_px, middle_px)
    return low_px


def tallest_entering_px(zone: ZoneCount) -> float:
    """Height of the tallest box whose feet can be clear of a zone's edges inside it, at the points of a grid."""
    limit_xy = np.array(zone.frame_hw[::-1]) - 0.5
    low_xy, high_xy = (
        np.clip(side, 0.5, limit_xy) for side in (zone.points_px.min(axis=0), zone.points_px.max(axis=0))
    )
    xs, ys = (np.linspace(low_xy[axis], high_xy[axis], _GRID) for axis in range(2))
    feet_xy = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    return max(0.0, float(np.minimum(zone.distance_px(feet_xy) / CLEAR, feet_xy[:, 1]).max()))


def _counts(line: LineCount, height_px: float, frame_hw: tuple[int, int]) -> bool:
    """Whether a box of this height inside the frame can pass the line, clear of it before and after."""
    low_xy = np.array([0.5, max(0.5, height_px)])
    high_xy = np.array([frame_hw[1], frame_hw[0]]) - 0.5
    if (low_xy >= high_xy).any() or not _meets(line.points_px, low_xy, high_xy):
        return False
    corners_xy = np.array([(x, y) for x in (low_xy[0], high_xy[0]) for y in (low_xy[1], high_xy[1])])
    distance_px = line.distance_px(corners_xy)
    return bool(min(distance_px.max(), -distance_px.min()) >= CLEAR * height_px)


def _meets(points_px: Points, low_xy: Points, high_xy: Points) -> bool:
    """Whether a segment (2, 2) has a point in a rectangle; it is clipped to one side of it after the other."""
    start, step = points_px[0], points_px[1] - points_px[0]
    begin, end = 0.0, 1.0
    for axis in range(2):
        if step[axis] == 0:
            if not low_xy[axis] <= start[axis] <= high_xy[axis]:
                return False
            continue
        at = sorted(((low_xy[axis] - start[axis]) / step[axis], (high_xy[axis] - start[axis]) / step[axis]))
        begin, end = max(begin, at[0]), min(end, at[1])
    return begin < end
