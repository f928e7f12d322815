"""Lines and zones that cannot count because of where they are in the frame are reported."""

import logging
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer
from mmpnet.runtime.analytics.counting import PeopleCounter
from mmpnet.runtime.analytics.reach import reach_notes, tallest_counted_px, tallest_entering_px
from mmpnet.runtime.analytics.shapes import parse_line, parse_zone
from mmpnet.runtime.sources.frame import Frame

FRAME_HW = (720, 1280)
INSIDE = "is too near an edge of the frame of 1280x720 px to count "


def counter_of(text: str) -> PeopleCounter:
    return PeopleCounter([parse_line(text, default_name="")], [], frame_hw=FRAME_HW)


def passages(text: str, height_px: float) -> int:
    """How often a box of this height is counted that goes to every corner of what its feet can reach."""
    counter, left, right, top, bottom = counter_of(text), 0.5, 1279.5, max(height_px, 0.5), 719.5
    walks = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top), (right, bottom), (left, bottom)]
    for (x, y), (to_x, to_y) in pairwise(walks):
        for share in np.linspace(0, 1, 50):
            foot_x, foot_y = x + share * (to_x - x), y + share * (to_y - y)
            box = np.array([[foot_x - 5, foot_y - height_px, foot_x + 5, foot_y]], np.float32)
            person = Detections(box, np.ones(1, np.float32), np.ones(1, np.int64))
            counter.update(person, np.zeros(1, np.int64))
    return counter.lines[0].in_count + counter.lines[0].out_count


@pytest.mark.parametrize(
    "text", ["d=0,99%,100%,99%", "d=99%,0,99%,100%", "d=0,8%,100%,8%", "d=0,98%,2%,100%", "d=0,99%,100%,97%"]
)
def test_the_tallest_box_that_a_line_counts_is_the_one_that_the_counter_counts(text: str) -> None:
    tallest_px = tallest_counted_px(counter_of(text).lines[0], FRAME_HW)
    assert tallest_px is not None
    assert passages(text, 0.97 * tallest_px)
    assert not passages(text, 1.03 * tallest_px)


@pytest.mark.parametrize(
    "text",
    [
        "d=0,100%,100%,100%",
        "d=0,719,100%,719",
        "d=0,0,100%,0",
        "d=100%,0,100%,100%",
        "d=0,0,0,100%",
        "d=0,99.9%,0.1%,100%",
    ],
)
def test_a_line_on_the_edge_of_the_frame_counts_nobody(text: str) -> None:
    assert not any(passages(text, height_px) for height_px in (15.0, 50.0, 300.0))
    (note,) = reach_notes(counter_of(text))
    assert note.startswith(f"d: {INSIDE}anybody; the middle of a box's lower edge must be seen on both sides")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("d=0,99%,100%,99%", [f"cam: d: {INSIDE}boxes of more than 67 px in height"]),
        ("d=0,98%,100%,98%", []),
        ("d=0,50%,100%,50%", []),
        ("d=10%,60%,12%,60%", []),
        ("d=0,20%,20%,0", []),
    ],
)
def test_a_run_says_which_line_counts_only_small_boxes(
    text: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.zeros((*FRAME_HW, 3), np.uint8)
    with caplog.at_level(logging.WARNING):
        StreamAnalyzer(
            Frame(pixels, "cam", "camera", 10.0, datetime.now(UTC), 0.0),
            Analysis(0.4, [parse_line(text, default_name="")]),
        )
    assert [record.getMessage().split("; ")[0] for record in caplog.records] == said


ACROSS = "z=0,50%,100%,50%,100%,51%,0,51%"


@pytest.mark.parametrize(
    ("text", "tallest_px"),
    [
        (ACROSS, 36.0),
        ("z=0,99%,100%,99%,100%,100%,0,100%", 67.0),
        ("z=0,40%,100%,40%,100%,60%,0,60%", 432 / 1.1),
        ("z=0,0,100%,0,100%,100%,0,100%", 719.5),
    ],
)
def test_a_zone_counts_who_enters_up_to_a_height(text: str, tallest_px: float) -> None:
    zone = parse_zone(text, default_name="")
    counter = PeopleCounter([], [zone], frame_hw=FRAME_HW)
    assert tallest_entering_px(counter.zones[0]) == pytest.approx(tallest_px, rel=0.05)
    notes = [
        f"z: is too narrow in the frame of 1280x720 px to count boxes of more than {tallest_px:.0f} px in height as "
        "entering and leaving; the middle of a box's lower edge must be seen inside, a tenth of the box's height from "
        "each edge; make the zone larger, or use a line"
    ]
    assert reach_notes(counter) == notes * (tallest_px < 72)


@pytest.mark.parametrize(("height_px", "entries"), [(34.0, 1), (38.0, 0)])
def test_the_counter_agrees_about_a_narrow_zone(height_px: float, entries: int) -> None:
    counter = PeopleCounter([], [parse_zone(ACROSS, default_name="")], frame_hw=FRAME_HW)
    for foot_y in np.arange(300, 420, 0.2):
        box = np.array([[600, foot_y - height_px, 620, foot_y]], np.float32)
        counter.update(Detections(box, np.ones(1, np.float32), np.ones(1, np.int64)), np.zeros(1, np.int64))
    assert counter.zones[0].in_count == entries
