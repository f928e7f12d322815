"""A camera that stops and comes back makes one event each."""

from datetime import UTC, datetime

from mmpnet.runtime.events.availability import AvailabilityEvents
from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.sources.frame import Event, State

AT = datetime(2026, 1, 2, tzinfo=UTC)


def camera() -> AvailabilityEvents:
    return AvailabilityEvents("door", 0, stale_after_s=5.0, now_s=0.0)


def turn(watched: AvailabilityEvents, state: State, now_s: float, reason: str = "") -> list[CameraEvent]:
    return watched.happened(Event("door", state, AT, reason), now_s)


def test_a_camera_that_starts_makes_no_event() -> None:
    watched = camera()
    assert turn(watched, "connecting", 0.1) == []
    assert not watched.available
    assert turn(watched, "live", 1.0) == []
    assert watched.available
    assert watched.tick(AT, 100.0) == []


def test_a_silent_camera_is_stale_once_and_back_once() -> None:
    watched = camera()
    turn(watched, "live", 1.0)
    (stale,) = turn(watched, "stale", 10.0, "no frame for 5 s")
    assert (stale.event, stale.reason, watched.available) == ("stale", "no frame for 5 s", False)
    assert turn(watched, "reconnecting", 12.0, "cannot be opened") == []
    assert watched.tick(AT, 60.0) == []
    (back,) = turn(watched, "live", 70.0)
    assert (back.event, back.duration_s, watched.available) == ("back", 60.0, True)


def test_a_lost_connection_that_is_found_again_at_once_is_no_event() -> None:
    watched = camera()
    turn(watched, "live", 1.0)
    assert turn(watched, "reconnecting", 10.0, "no frame") == []
    assert not watched.available
    assert watched.tick(AT, 14.9) == []
    assert turn(watched, "live", 14.9) == []
    assert turn(watched, "reconnecting", 20.0, "no frame") == []
    (stale,) = watched.tick(AT, 25.0)
    assert (stale.event, stale.reason) == ("stale", "no frame")


def test_a_camera_that_never_works_is_stale() -> None:
    watched = camera()
    assert watched.tick(AT, 4.0) == []
    (stale,) = watched.tick(AT, 5.0)
    assert (stale.event, stale.reason) == ("stale", "no image yet")


def test_a_camera_that_is_closed_by_an_error_is_stale_at_once() -> None:
    watched = camera()
    turn(watched, "live", 1.0)
    (stale,) = turn(watched, "closed", 2.0, "its line is outside the frame")
    assert stale.event == "stale"
    watched = camera()
    turn(watched, "live", 1.0)
    assert turn(watched, "closed", 2.0) == [], "the normal end of a run"
