"""Tracks become events of people: once per person, and none for a wrong box."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.analyzer import Analysis
from mmpnet.runtime.analytics.shapes import Line, parse_line, parse_zone
from mmpnet.runtime.events.event import CameraEvent, decode_event, encode_event
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.events.snapshot import LONGEST_SIDE_PX, FrameSnapshot
from support.walks import NAMES, NOON, SCENE_HW, Scene, Sight, nobody, standing, walking

CONF = 0.4
PLACE = (160.0, 160.0)


def scene(*, line: str = "", zone: str = "", fps: float = 10.0) -> Scene:
    lines = [parse_line(line, default_name="")] if line else []
    zones = [parse_zone(zone, default_name="")] if zone else []
    return Scene(Analysis(CONF, lines, zones), fps=fps)


def kinds(happenings: list[Happening]) -> list[str]:
    return [one.event.event for one in happenings]


def test_a_person_appears_once_and_is_gone_once() -> None:
    camera = scene()
    came = camera.see([*nobody(5), *standing(PLACE, 30)])
    went = camera.see(nobody(60))
    assert (kinds(came), kinds(went)) == (["appeared"], ["gone"])
    appeared, gone = came[0].event, went[0].event
    assert (appeared.camera, appeared.stream, appeared.class_name) == ("door", 0, "person")
    # The tracker gives an id from the second sight on.
    assert (appeared.at - NOON).total_seconds() == pytest.approx(0.6)
    assert (gone.at - NOON).total_seconds() == pytest.approx(3.4)
    assert gone.duration_s == pytest.approx(2.8)
    assert appeared.track == gone.track
    assert appeared.id != gone.id
    assert appeared.score == pytest.approx(0.8)


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("score", [0.45, 0.99])
def test_a_wrong_box_of_a_few_frames_is_no_event(frames: int, score: float) -> None:
    camera = scene(line="door=0,120,320,120", zone="room=0,0,320,0,320,240,0,240")
    assert camera.see([*nobody(3), *standing(PLACE, frames, score=score), *nobody(80)]) == []


def test_what_is_hardly_a_person_needs_more_time() -> None:
    assert kinds(scene().see([*standing(PLACE, 22, score=0.55), *nobody(80)])) == []
    assert kinds(scene().see([*standing(PLACE, 40, score=0.55), *nobody(80)])) == ["appeared", "gone"]


@given(seed=st.integers(0, 10_000), fps=st.sampled_from([2.0, 5.0, 15.0, 30.0]))
@settings(max_examples=10)
def test_a_person_who_flickers_is_one_person(seed: int, fps: float) -> None:
    rng = np.random.default_rng(seed)
    camera = scene(fps=fps)
    seen = np.ones(int(12 * fps), np.bool_)
    begin = int(2 * fps)
    while begin < len(seen) - 3 * fps:  # out of sight for up to 1.8 s, then seen for a second
        away = int(rng.integers(1, max(int(1.8 * fps), 2)))
        seen[begin : begin + away] = False
        begin += away + int(1.0 * fps) + 1
    frames = [[Sight((160 + rng.normal(0, 1), 160 + rng.normal(0, 1)))] if one else [] for one in seen.tolist()]
    assert kinds(camera.see([*frames, *nobody(int(5 * fps))])) == ["appeared", "gone"]


def test_who_comes_in_where_another_left_the_frame_is_another_person() -> None:
    camera = scene()
    right = (SCENE_HW[1] - 15.0, 160.0)
    leaving = walking((160, 160), right, 20)
    events = camera.see([*leaving, *nobody(15), *reversed(leaving), *nobody(60)])
    tracks = {one.event.track for one in events}
    assert (len(tracks), sorted(kinds(events))) == (2, ["appeared", "appeared", "gone", "gone"])


def test_who_stands_on_a_line_crosses_it_once() -> None:
    rng = np.random.default_rng(4)
    jitter = [[Sight((160 + rng.normal(0, 2), 160 + rng.normal(0, 3)))] for _ in range(100)]
    camera = scene(line="door=0,160,320,160")
    events = camera.see([*walking((160, 100), (160, 160), 15), *jitter, *walking((160, 160), (160, 220), 15)])
    assert kinds(events) == ["appeared", "crossed"]
    crossed = events[1].event
    assert (crossed.line, crossed.direction, crossed.zone) == ("door", "in", None)


def test_who_walks_round_the_end_of_a_line_does_not_cross_it() -> None:
    camera = scene(line="door=0,160,100,160")
    path = [*walking((60, 120), (200, 120), 15), *walking((200, 120), (200, 200), 15)]
    assert kinds(camera.see([*path, *walking((200, 200), (60, 200), 15)])) == ["appeared"]


def test_a_zone_is_entered_and_left_with_the_time_in_it() -> None:
    camera = scene(zone="till=100,120,220,120,220,240,100,240")
    inside = standing((160, 180), 30)
    events = camera.see([*walking((160, 95), (160, 180), 12), *inside, *walking((160, 180), (160, 95), 12)])
    assert kinds(events) == ["appeared", "entered", "left"]
    entered, left = events[1].event, events[2].event
    assert (entered.zone, entered.direction, left.direction) == ("till", "in", "out")
    assert left.duration_s is not None
    # From the step over the edge to the step that is clear of it again.
    assert 3.0 < left.duration_s < (left.at - entered.at).total_seconds() + 1
    assert camera.events.in_zone("till") == 0


def test_who_vanishes_within_a_zone_is_gone_from_it() -> None:
    camera = scene(zone="till=100,120,220,120,220,240,100,240")
    events = camera.see([*standing((160, 180), 20)])
    assert (kinds(events), events[0].event.zones, camera.events.in_zone("till")) == (["appeared"], ("till",), 1)
    (gone,) = camera.see(nobody(60))
    assert (gone.event.event, gone.event.zones, camera.events.in_zone("till")) == ("gone", ("till",), 0)


def test_six_dogs_are_no_people_at_a_line_and_in_a_zone() -> None:
    camera = scene(line="door=0,160,320,160", zone="room=0,0,320,0,320,140,0,140")
    pack = [[Sight((25 + 50 * dog, y), class_id=2) for dog in range(6)] for y in np.linspace(100, 220, 25).tolist()]
    events = camera.see(pack)
    assert kinds(events) == ["appeared"] * 6
    assert {one.event.class_name for one in events} == {"dog"}
    assert camera.last is not None
    assert camera.last.counts == {
        "door": {"in_count": 0, "out_count": 0},
        "room": {"count": 0, "in_count": 0, "out_count": 0},
    }


def test_a_line_counts_the_classes_that_it_is_told_to() -> None:
    line = Line("door", parse_line("0,160,320,160", default_name="").points, frozenset({"dog", "person"}))
    camera = Scene(Analysis(CONF, [line]))
    both = [
        [*a, *b]
        for a, b in zip(walking((80, 100), (80, 220), 25, class_id=2), walking((240, 220), (240, 100), 25), strict=True)
    ]
    assert sorted(kinds(camera.see(both))) == ["appeared", "appeared", "crossed", "crossed"]
    assert camera.last is not None
    assert camera.last.counts is not None
    assert camera.last.counts["door"] == {
        "in_count": 1,
        "out_count": 1,
        "classes": {"person": {"in_count": 0, "out_count": 1}, "dog": {"in_count": 1, "out_count": 0}},
    }


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    line = Line("door", parse_line("0,160,320,160", default_name="").points, frozenset({"cat"}))
    with pytest.raises(MmpnetError, match="door: counts the class 'cat', but the model knows person, dog; choose one"):
        Analysis(CONF, [line], class_names=NAMES)


def test_masks_and_classes_of_a_camera_leave_detections_out() -> None:
    mask = parse_zone("0,0,100,0,100,240,0,240", default_name="tree")
    camera = Scene(Analysis(CONF, masks=[mask], classes=frozenset({"person"})))
    seen = [Sight((50, 160)), Sight((200, 160)), Sight((260, 160), class_id=2)]
    (appeared,) = camera.see([seen] * 10)
    assert camera.last is not None
    assert len(camera.last.detections) == 1
    assert appeared.event.box is not None
    assert appeared.event.box[0] == pytest.approx((200 - 15) / SCENE_HW[1], abs=1e-4)


def test_a_run_that_ends_says_who_is_gone() -> None:
    camera = scene()
    camera.see(standing(PLACE, 12))
    assert (kinds(camera.events.end()), camera.events.present) == (["gone"], 0)
    assert camera.events.end() == []


def test_people_of_a_dead_camera_are_gone_after_a_while() -> None:
    camera = scene()
    camera.see(standing(PLACE, 12))
    assert camera.events.expire(camera.now_s + 2.4) == []
    assert kinds(camera.events.expire(camera.now_s + 2.6)) == ["gone"]


def test_the_snapshot_is_the_best_one_and_small() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[500:900, 900:1100] = 255
    snapshot = FrameSnapshot(frame).of(np.array([900, 500, 1100, 900], np.float32))
    assert max(snapshot.pixels_bgr.shape) == LONGEST_SIDE_PX
    x1, y1, x2, y2 = snapshot.box
    height, width = snapshot.pixels_bgr.shape[:2]
    inside = snapshot.pixels_bgr[
        round(y1 * height) + 1 : round(y2 * height) - 1, round(x1 * width) + 1 : round(x2 * width) - 1
    ]
    assert inside.min() > 250
    assert snapshot.jpeg()[:2] == b"\xff\xd8"


def test_an_event_survives_its_json() -> None:
    (happening,) = scene().see(standing(PLACE, 10))
    assert decode_event(encode_event(happening.event)) == happening.event
    bare = CameraEvent(id="1", event="stale", camera="Tür", stream=2, at=NOON + timedelta(hours=1), reason="no cable")
    expected = '{"id":"1","event":"stale","camera":"Tür","stream":2,"at":"2026-01-02T13:00:00Z","reason":"no cable"}'
    assert encode_event(bare).decode() == expected
