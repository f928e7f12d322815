"""Times of frames come from the container, and only increase."""

import math

import pytest

from mmpnet.runtime.sources.presentation_clock import PresentationClock


def times(positions_ms: list[float], *, fps: float = 10.0) -> list[float]:
    clock = PresentationClock(fps)
    return [round(clock.time_s(position), 6) for position in positions_ms]


def test_gaps_and_uneven_times_are_kept() -> None:
    assert times([0, 100, 2900, 303_000]) == [0, 0.1, 2.9, 303.0]


def test_the_first_frame_is_at_zero() -> None:
    assert times([3_600_000, 3_600_100]) == [0, 0.1]


def test_without_times_frames_come_at_the_stated_rate() -> None:
    assert times([0, 0, 0, 0], fps=25) == [0, 0.04, 0.08, 0.12]
    assert times([math.nan, math.inf, 0], fps=25) == [0, 0.04, 0.08]


def test_a_clock_that_starts_again_goes_on() -> None:
    """Files that were joined, as recorders do."""
    assert times([0, 40, 80, 0, 40, 80]) == [0, 0.04, 0.08, 0.12, 0.16, 0.2]


def test_last_frames_without_a_time_follow_the_others() -> None:
    assert times([200, 300, 400, 0, 0], fps=20) == [0, 0.1, 0.2, 0.3, 0.4]


def test_a_time_that_two_frames_share_does_not_delay_the_rest() -> None:
    assert times([0, 40, 40, 80, 120]) == [0, 0.04, 0.06, 0.08, 0.12]


def test_a_gap_is_not_the_distance_of_frames_without_a_time() -> None:
    assert times([0, 100, 60_100, 0, 0]) == [0, 0.1, 60.1, 60.2, 60.3]


@pytest.mark.parametrize(
    ("stated_fps", "positions_ms", "fps"),
    [
        (0.45, [0, 100, 300_000], 10.0),
        (25, [0, 40], 25.0),
        (25, [0], 25.0),
        (10, [0, 500], 10.0),
        (10, [0, 1], 240.0),
        (600, [0, 100], 60.0),
        (120, [0, 8], 125.0),
    ],
)
def test_the_rate_is_that_of_the_first_frames_if_the_stated_one_is_lower(
    stated_fps: float, positions_ms: list[float], fps: float
) -> None:
    clock = PresentationClock(stated_fps)
    for position in positions_ms:
        clock.time_s(position)
    assert clock.fps == pytest.approx(fps)
