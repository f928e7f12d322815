"""People are counted when their feet cross a line or the edge of a zone, once per crossing."""

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmpnet.contract.arrays import IntArray
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.counting import CLEAR, FORGET_AFTER_FRAMES, PeopleCounter, ZoneCount
from mmpnet.runtime.analytics.overlay import COUNT_BGR, draw_counts
from mmpnet.runtime.analytics.shapes import Coordinate, Line, Zone, parse_line, parse_zone
from mmpnet.runtime.analytics.tracker import NO_TRACK, Tracker

FRAME_HW = (720, 1280)
HEIGHT_PX = 100
CLEAR_PX = CLEAR * HEIGHT_PX
Foot = tuple[float, float]


def people(feet: Sequence[Foot], *, height_px: float = HEIGHT_PX) -> Detections:
    """People of one height with feet at these points."""
    boxes = np.array([[x - 20, y - height_px, x + 20, y] for x, y in feet], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.ones(len(boxes), np.int64))


def ids(*track_ids: int) -> IntArray:
    return np.array(track_ids, np.int64)


def counter_of(*, line: str = "", zone: str = "") -> PeopleCounter:
    lines = [parse_line(line, default_name="line1")] if line else []
    zones = [parse_zone(zone, default_name="zone1")] if zone else []
    return PeopleCounter(lines, zones, frame_hw=FRAME_HW)


def walk(counter: PeopleCounter, path: Sequence[Foot], *, track_id: int = 1) -> tuple[int, int]:
    """In and out counts of the counter's only line or zone after one person walked this path."""
    for foot in path:
        counter.update(people([foot]), ids(track_id))
    lines = [(line.in_count, line.out_count) for line in counter.lines]
    (counts,) = [*lines, *((zone.in_count, zone.out_count) for zone in counter.zones)]
    return counts


def px(*values: float) -> tuple[tuple[Coordinate, Coordinate], ...]:
    coordinates = [Coordinate(value) for value in values]
    return tuple(zip(coordinates[::2], coordinates[1::2], strict=True))


# --- options of the command line ---


def test_a_line_is_read_with_px_and_percentages() -> None:
    line = parse_line("door = 0, 50%,100%,360.5", default_name="line1")
    start = (Coordinate(0), Coordinate(50, percent=True))
    assert line == Line("door", (start, (Coordinate(100, percent=True), Coordinate(360.5))))
    np.testing.assert_array_equal(counter_of(line="0,50%,100%,360.5").lines[0].points_px, [[0, 360], [1280, 360.5]])


def test_a_zone_is_read_with_px_and_percentages() -> None:
    zone = parse_zone("till=10%,10%,640,72,50%,90%", default_name="zone1")
    assert (zone.name, len(zone.points)) == ("till", 3)
    counter = PeopleCounter([], [zone], frame_hw=FRAME_HW)
    np.testing.assert_array_equal(counter.zones[0].points_px, [[128, 72], [640, 72], [640, 648]])


def test_a_name_may_be_left_out_and_may_hold_an_equals_sign() -> None:
    assert parse_line("1,2,3,4", default_name="line7") == Line("line7", px(1, 2, 3, 4))
    assert parse_zone("1,2,3,4,5,7", default_name="zone2") == Zone("zone2", px(1, 2, 3, 4, 5, 7))
    assert parse_line("a=b=1,2,3,4", default_name="line1").name == "a=b"


@pytest.mark.parametrize(
    "text",
    [
        "10%,80%,90%,80%,10%,100%,90%,100%",
        "z=0,0,100,100,100,0,0,100",
        "0,0,40,0,40,40,20,30,20,10,60,10,60,20,0,20",
    ],
)
def test_edges_of_a_zone_do_not_cross(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"crosses the edge after corner \d; give the corners in order around the zone"
    ):
        parse_zone(text, default_name="zone1")


def test_edges_in_px_and_percent_are_compared_in_the_frame() -> None:
    mixed = "0,0,100%,100%,640,0,0,100%"
    zone = parse_zone(mixed, default_name="till")
    with pytest.raises(MmpnetError, match="till: the edge after corner 1 crosses the edge after corner 3"):
        PeopleCounter([], [zone], frame_hw=(480, 640))


@pytest.mark.parametrize("text", ["0,0,100,0,100,100,50,50,0,100", "0,0,50%,0,50%,50%,0,50%", "5,5,9,5,5,9,5,7"])
def test_zones_with_a_dent_or_touching_edges_are_taken(text: str) -> None:
    assert len(parse_zone(text, default_name="zone1").points) >= 4


@pytest.mark.parametrize("text", ["0.5,0,0.5,1", "0,0,1,1"])
def test_fractions_are_no_px(text: str) -> None:
    with pytest.raises(ValueError, match="all coordinates are at most 1 px; write fractions of the frame in percent"):
        parse_line(text, default_name="line1")
    with pytest.raises(ValueError, match="all coordinates are at most 1 px"):
        parse_zone(f"{text},1,0", default_name="zone1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"),
        ("door", "'door'"),
        ("door=", "''"),
        ("=1,2,3,4", "no name"),
        (" =1,2,3,4", "no name"),
        ("1,2,3", "3 numbers"),
        ("1,2", "1 different points"),
        ("1,2,3,4,5,6", "3 different points"),
        ("1,2,1,2", "1 different points"),
        ("1,2,3,", "''"),
        ("1,2,3,x", "'x'"),
        ("1,2,3,-4", "'-4'"),
        ("1,2,3,1e3", "'1e3'"),
        ("1,2,3,nan", "'nan'"),
        ("1,2,3,4%%", "'4%%'"),
        ("1,2,3,٤", "'٤'"),
        ("1,2,3,101%", "101%"),
        ("1 2 3 4", "'1 2 3 4'"),
    ],
)
def test_a_malformed_line_is_one_clear_line(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(repr(text))}: found {re.escape(found)}.*expected ") as caught:
        parse_line(text, default_name="line1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [("till=1,2,3,4", "2 different points"), ("1,2,3,4,1,2", "2 different points"), ("1,2,3,4,5", "5 numbers")],
)
def test_a_malformed_zone_is_one_clear_line(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(repr(text))}: found {found}, expected "):
        parse_zone(text, default_name="zone1")


@pytest.mark.parametrize(
    ("line", "zone", "message"),
    [
        ("a=0,0,1281,10", "", "a: the point 1281,10 is outside the frame of 1280x720 px"),
        ("", "b=0,0,10,0,10,721", "b: the point 10,721 is outside the frame of 1280x720 px"),
        ("c=50%,50%,640,360", "", "c: .*expected a line with two ends"),
        ("", "d=0,0,10,10,30,30", "d: .*expected a zone with an area"),
        ("e=1,2,3,4", "e=0,0,10,10,30,40", "two lines or zones have the name 'e'"),
    ],
)
def test_what_does_not_fit_the_frame_is_a_users_error(line: str, zone: str, message: str) -> None:
    with pytest.raises(MmpnetError, match=message) as caught:
        counter_of(line=line, zone=zone)
    assert "\n" not in str(caught.value)


# --- lines ---

WALKS = {
    "down": ("0,50%,100%,50%", [(600, 200), (600, 340), (600, 380), (600, 500)], (1, 0)),
    "up": ("0,50%,100%,50%", [(600, 500), (600, 380), (600, 340), (600, 200)], (0, 1)),
    "down, the line drawn from right to left": ("100%,50%,0,50%", [(600, 200), (600, 500)], (0, 1)),
    "to the right over a line drawn upwards": ("640,600,640,100", [(500, 300), (800, 300)], (1, 0)),
    "there and back": ("0,50%,100%,50%", [(600, 200), (600, 500), (600, 200)], (1, 1)),
    "along the line": ("0,50%,100%,50%", [(600, 200), (900, 200), (300, 345)], (0, 0)),
    "beyond the end of the line": ("0,360,500,360", [(600, 200), (600, 500)], (0, 0)),
    "past the end slantwise, through the box around the line": ("0,300,500,400", [(480, 250), (600, 500)], (0, 0)),
    "in by the line, back around its end": ("0,360,500,360", [(400, 200), (400, 500), (600, 500), (600, 200)], (1, 0)),
    "with a stop on the line": ("0,360,1280,360", [(600, 200), (600, 360), (600, 360), (600, 500)], (1, 0)),
    "onto the line and back": ("0,360,1280,360", [(600, 200), (600, 360), (600, 200)], (0, 0)),
    "in one long step": ("0,360,1280,360", [(100, 10), (1200, 700)], (1, 0)),
}


@pytest.mark.parametrize("name", WALKS)
def test_a_line_counts_who_crosses_between_its_ends(name: str) -> None:
    line, path, expected = WALKS[name]
    assert walk(counter_of(line=line), path) == expected


@pytest.mark.parametrize("seed", range(5))
def test_who_trembles_on_a_line_is_not_counted_and_who_leaves_it_is_counted_once(seed: int) -> None:
    counter, generator = counter_of(line="0,360,1280,360"), np.random.default_rng(seed)
    trembling = [(600 + x, 360 + 0.9 * y) for x, y in generator.uniform(-CLEAR_PX, CLEAR_PX, (200, 2))]
    assert walk(counter, [(600, 300), *trembling]) == (0, 0)
    assert walk(counter, [(600, 420), *trembling, (600, 420), *trembling]) == (1, 0)
    assert walk(counter, [(600, 300)]) == (1, 1)


def test_who_trembles_around_the_end_of_a_line_is_not_counted() -> None:
    around = [(495, 355), (495, 365), (505, 365), (505, 355)]
    assert walk(counter_of(line="0,360,500,360"), [(495, 300), *around * 20, (495, 300)]) == (0, 0)


@pytest.mark.parametrize(("step", "expected"), [(0.9, 0), (1.1, 1)])
def test_clear_of_the_line_is_a_share_of_the_persons_height(step: float, expected: int) -> None:
    for height_px in (50, 300):
        counter = counter_of(line="0,360,1280,360")
        for y in (360 - step * CLEAR * height_px, 360 + step * CLEAR * height_px):
            counter.update(people([(600, y)], height_px=height_px), ids(1))
        assert counter.lines[0].in_count == expected


def test_a_track_that_starts_on_the_line_is_counted_from_where_it_is_first_clear() -> None:
    counter = counter_of(line="0,360,1280,360")
    assert walk(counter, [(600, 358), (600, 362), (600, 420)]) == (0, 0)
    assert walk(counter, [(600, 300)]) == (0, 1)


def test_a_crossing_that_the_detector_missed_counts() -> None:
    counter = counter_of(line="0,360,1280,360")
    walk(counter, [(600, 300)])
    for _ in range(10):
        counter.update(people([]), ids())
    assert walk(counter, [(600, 420)]) == (1, 0)


def test_tracks_are_distinguished_and_rows_without_one_are_left_out() -> None:
    counter = counter_of(line="0,360,1280,360")
    counter.update(people([(100, 300), (300, 420), (500, 300)]), ids(1, 2, NO_TRACK))
    counter.update(people([(500, 420), (300, 300), (100, 420)]), ids(NO_TRACK, 2, 1))
    assert counter.as_dict() == {"line1": {"in_count": 1, "out_count": 1}}


def side(a: tuple[int, int], b: tuple[int, int], point: tuple[int, int]) -> int:
    """1 to the right of a walk from a to b in an image, -1 to its left, 0 on it; exact for whole numbers."""
    turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    return (turn > 0) - (turn < 0)


PLACES = st.tuples(st.integers(1, 1279), st.integers(1, 719))


@settings(deadline=None)
@given(line=st.tuples(PLACES, PLACES), path=st.lists(PLACES, min_size=2, max_size=12))
def test_in_less_out_is_the_net_number_of_crossings(
    line: tuple[tuple[int, int], tuple[int, int]], path: list[tuple[int, int]]
) -> None:
    """Compare with the exact textbook test of two segments, for steps that end clear of the line."""
    start, end = line
    assume(start != end)
    squared = (end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2

    def is_clear(foot: tuple[int, int]) -> bool:
        turn = (end[0] - start[0]) * (foot[1] - start[1]) - (end[1] - start[1]) * (foot[0] - start[0])
        return Fraction(turn**2, squared) > int(CLEAR_PX + 1) ** 2

    path = [foot for foot in path if is_clear(foot)]
    expected = [0, 0]
    for before, now in pairwise(path):
        # A step exactly through an end of the line may count or not.
        assume(before == now or (side(before, now, start) and side(before, now, end)))
        if side(start, end, before) != side(start, end, now) and side(before, now, start) != side(before, now, end):
            expected[0 if side(start, end, now) > 0 else 1] += 1
    counter = PeopleCounter([Line("line1", px(*start, *end))], [], frame_hw=FRAME_HW)
    assert walk(counter, path) == tuple(expected)


# --- zones ---

TILL = "till=200,200,600,200,600,600,200,600"


def test_a_zone_counts_everyone_in_it_with_and_without_a_track() -> None:
    counter = counter_of(zone=TILL)
    counter.update(people([(300, 300), (599, 599), (601, 300), (300, 199)]), ids(NO_TRACK, 1, 2, NO_TRACK))
    assert counter.as_dict() == {"till": {"count": 2, "in_count": 0, "out_count": 0}}
    counter.update(people([]), ids())
    assert counter.zones[0].count == 0, "it is a count of now"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([(100, 300), (300, 300)], (1, 0)),
        ([(300, 300), (100, 300)], (0, 1)),
        ([(100, 300), (300, 300), (300, 700), (500, 500)], (2, 1)),
        ([(300, 300), (350, 350)], (0, 0)),
        ([(100, 300), (195, 300), (205, 300), (195, 300), (205, 300), (100, 300)], (0, 0)),
        ([(100, 300), (250, 300), (195, 300), (205, 300), (195, 300), (250, 300)], (1, 0)),
    ],
)
def test_a_zone_counts_who_enters_and_who_leaves(path: list[Foot], expected: tuple[int, int]) -> None:
    assert walk(counter_of(zone=TILL), path) == expected


def test_who_vanishes_in_a_zone_has_not_left_it() -> None:
    counter = counter_of(zone=TILL)
    walk(counter, [(100, 300), (300, 300)])
    for _ in range(FORGET_AFTER_FRAMES + 2):
        counter.update(people([]), ids())
    assert counter.as_dict() == {"till": {"count": 0, "in_count": 1, "out_count": 0}}


def test_a_zone_may_have_a_notch_and_its_corners_may_be_closed() -> None:
    counter = counter_of(zone="100,100,700,100,700,500,400,200,100,500,100,100")
    counter.update(people([(150, 400), (650, 400), (400, 150), (400, 300), (400, 450)]), ids(*[NO_TRACK] * 5))
    assert counter.zones[0].count == 3


def test_who_stands_in_a_zone_with_feet_below_the_frame_is_in_it() -> None:
    counter = counter_of(zone="till=50%,50%,100%,50%,100%,100%,50%,100%")
    assert walk(counter, [(300, 720), (1000, 720)]) == (1, 0)
    assert counter.zones[0].count == 1
    assert walk(counter, [(1000, 719), (1279, 725), (1290, 500)]) == (1, 0)
    assert counter.zones[0].count == 1


@settings(deadline=None)
@given(corners=st.lists(PLACES, min_size=3, max_size=7, unique=True), feet=st.lists(PLACES, min_size=1, max_size=5))
def test_the_distance_to_a_zone_is_that_of_opencv(corners: list[tuple[int, int]], feet: list[tuple[int, int]]) -> None:
    zone = ZoneCount("zone", np.array(corners, np.float64), FRAME_HW)
    expected = [cv2.pointPolygonTest(np.array(corners, np.float32), foot, True) for foot in feet]
    np.testing.assert_allclose(zone.distance_px(np.array(feet, np.float64)), expected, rtol=1e-4, atol=1e-3)


# --- all together ---


def test_counts_are_plain_json_by_name() -> None:
    counter = PeopleCounter(
        [parse_line("door=0,50%,100%,50%", default_name="line1")],
        [parse_zone("0,50%,100%,50%,100%,100%,0,100%", default_name="zone1")],
        frame_hw=FRAME_HW,
    )
    for y in (300, 420):
        counter.update(people([(600, y), (100, 400)]), ids(1, 2))
    expected = {"door": {"in_count": 1, "out_count": 0}, "zone1": {"count": 2, "in_count": 1, "out_count": 0}}
    assert json.loads(json.dumps(counter.as_dict())) == expected


def test_one_id_for_each_detection_is_requested() -> None:
    with pytest.raises(ValueError, match=r"track_ids must be \(2,\), got \(1,\)"):
        counter_of(zone=TILL).update(people([(1, 1), (2, 2)]), ids(1))


def test_tracks_of_long_ago_are_forgotten_and_those_still_seen_are_not() -> None:
    counter = counter_of(line="0,360,1280,360")
    for track_id in range(2, 3 * FORGET_AFTER_FRAMES):
        counter.update(people([(100, 300), (600, 300)]), ids(1, track_id))
    assert len(counter._tracks) <= FORGET_AFTER_FRAMES + 2
    assert walk(counter, [(100, 420)]) == (1, 0)


def test_people_who_are_tracked_through_a_door_are_counted() -> None:
    """Five people walk down and three up, across a line and through a zone below it, with jitter and missed frames."""
    generator = np.random.default_rng(0)
    counter = counter_of(line="door=0,300,1280,300", zone="room=0,300,1280,300,1280,720,0,720")
    tracker = Tracker(frame_rate=30)
    start = np.array([[100 + 150 * person, 150 if person < 5 else 600] for person in range(8)], np.float64)
    velocity = np.array([[0.5, 5] if person < 5 else [-0.5, -5] for person in range(8)])
    for frame in range(81):
        feet = (start + velocity * frame + generator.normal(0, 1.5, (8, 2)))[generator.permutation(8)]
        found = people([(x, y) for x, y in feet[generator.random(8) < 0.9].tolist()])
        counter.update(found, tracker.update(found))
    assert counter.as_dict()["door"] == {"in_count": 5, "out_count": 3}
    room = counter.as_dict()["room"]
    assert (room["in_count"], room["out_count"]) == (5, 3)
    assert 0 < room["count"] <= 5


# --- drawing ---


def test_lines_and_zones_are_painted_where_they_are_with_their_counts() -> None:
    counter = counter_of(line="10%,50%,40%,50%", zone="800,300,1100,300,1100,600,800,600")
    gray = np.full((*FRAME_HW, 3), 90, np.uint8)
    first, second = gray.copy(), gray.copy()
    draw_counts(first, counter)
    painted = (first != 90).any(axis=2)
    for y, x in [(360, 200), (450, 800), (450, 1100), (600, 900)]:
        assert painted[y, x]
    assert not painted[620:, :].any()
    assert not painted[400:580, 820:1080].any(), "the people in a zone stay to be seen"
    assert painted[365:400, 320].any(), "the arrow points down, where in is"
    for y in (300, 420):
        counter.update(people([(200, y)]), ids(1))
    draw_counts(second, counter)
    assert (first != second).any(), "the counts are painted"


def test_counts_of_lines_from_one_point_lie_beside_each_other() -> None:
    lines = [
        parse_line(f"{name}=50%,50%,{end}", default_name="") for name, end in (("door", "90%,50%"), ("gate", "50%,90%"))
    ]

    def filled(*drawn: Line) -> int:
        frame = np.zeros((*FRAME_HW, 3), np.uint8)
        draw_counts(frame, PeopleCounter(list(drawn), [], frame_hw=FRAME_HW))
        return int((frame == COUNT_BGR).all(axis=2).sum())

    assert filled(*lines) > 0.95 * sum(map(filled, lines))


def test_a_line_of_a_tiny_frame_is_painted() -> None:
    counter = PeopleCounter([parse_line("0,0,100%,100%", default_name="a")], [], frame_hw=(8, 8))
    frame = np.zeros((8, 8, 3), np.uint8)
    draw_counts(frame, counter)
    assert frame.any()
