"""Delays by the sender's clock are measured correctly, and are 0 if that clock is unusable."""

import math
import random

import pytest

from mmpnet.runtime.sources.stream_clock import LONGEST_DRAIN_S, ArrivalClock, StreamClock


def delays(positions_s: list[float], times_s: list[float]) -> list[float]:
    delay = StreamClock()
    return [delay.seconds(at * 1e3, now_s) for at, now_s in zip(positions_s, times_s, strict=True)]


def test_a_backlog_that_grows_and_drains_is_reported() -> None:
    sent = [5.0 + index * 0.04 for index in range(101)]
    waits = [0.02 * min(index, 100 - index) for index in range(101)]
    told = delays(sent, [1e5 + at + wait for at, wait in zip(sent, waits, strict=True)])
    assert told == pytest.approx(waits, abs=2e-3), "the two clocks' drift is allowed for"


def test_what_had_piled_up_before_the_first_frame_is_known_once_it_drained() -> None:
    sent = [index * 0.04 for index in range(60)]
    came = [max(at, 2.0 + index * 0.005) for index, at in enumerate(sent)]
    told = delays(sent, came)
    assert max(told) == 0, "no frame comes later than an earlier one did"
    late = delays([*sent, 2.4], [*came, 2.9])
    assert late[-1] == pytest.approx(0.5, abs=1e-2)


@pytest.mark.parametrize("ppm", [-100, 100])
def test_clocks_that_drift_slowly_show_no_delay(ppm: int) -> None:
    now = [minute * 60.0 for minute in range(24 * 60)]
    told = delays([at * (1 + ppm * 1e-6) for at in now], now)
    assert max(told) < 0.02


@pytest.mark.parametrize(
    "bad_s", [5.04, 3.0, 8.0, math.nan, math.inf, -1.0], ids=["stands", "back", "jumps", "nan", "inf", "below zero"]
)
def test_a_bad_clock_is_not_believed_again(bad_s: float) -> None:
    sent = [5.0, 5.04, bad_s, 5.12, 5.16, 5.2]
    told = delays(sent, [10.0, 10.2, 10.2, 10.3, 10.9, 11.9])
    assert told[1] > 0.1
    assert told[2:] == [0.0] * 4


def test_a_clock_may_begin_after_the_first_frames() -> None:
    told = delays([0.0, 0.0, 0.012, 0.03, 0.061], [8.0, 8.04, 8.1, 8.15, 8.2])
    assert told == pytest.approx([0, 0, 0, 0.032, 0.051], abs=1e-3)


@pytest.mark.parametrize("position_s", [0.0, -1e15, math.nan])
def test_a_capture_without_a_clock_tells_nothing(position_s: float) -> None:
    assert delays([position_s] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) == [0.0] * 5


def test_a_clock_that_counts_frames_is_given_up_in_the_end() -> None:
    told = delays([index * 0.04 for index in range(9000)], [index * 0.08 for index in range(9000)])
    assert told[-1] == 0.0


def test_captures_stay_in_order() -> None:
    rng = random.Random(0)
    sent = [index * 0.04 for index in range(500)]
    now = 0.0
    times = []
    for at in sent:
        now = max(now + 0.001, at + rng.expovariate(20))
        times.append(now)
    captured = [now_s - wait for now_s, wait in zip(times, delays(sent, times), strict=True)]
    assert captured == sorted(captured)


def waits(clock: ArrivalClock, grabs: list[tuple[float, float]]) -> list[float | None]:
    """Delays of frames by their positions and the times at which they are grabbed; the first is asked for at 0."""
    asked_s, told = 0.0, []
    for position_s, now_s in grabs:
        told.append(clock.seconds(position_s * 1e3, asked_s, now_s))
        asked_s = now_s
    return told


BUFFERED = [(index * 0.1, 0.001 * (index + 1)) for index in range(20)]
"""Two seconds of a stream that come at once."""


def test_frames_of_the_buffer_are_marked_until_they_come_at_their_own_rate() -> None:
    new = [(2.0 + index * 0.1, 0.12 + index * 0.1) for index in range(6)]
    told = waits(ArrivalClock(10.0, holds_one_back=False), [*BUFFERED, *new, (2.6, 0.75)])
    assert told == [*[None] * 24, 0.0, 0.0, pytest.approx(0.03, abs=1e-4)]


@pytest.mark.parametrize("pauses_s", [[0.06], [0.06, 0.07], [0.3]], ids=str)
def test_a_pause_while_the_buffer_is_read_does_not_make_its_frames_new(pauses_s: list[float]) -> None:
    grabs, now_s = [], 0.0
    for index in range(60):
        sent_s = index * 0.1 - 3.0  # 30 frames were sent before the stream was opened
        pause_s = pauses_s[index - 8] if 8 <= index < 8 + len(pauses_s) else 0.001
        now_s = max(now_s + pause_s, sent_s)
        grabs.append((index * 0.1, now_s))
    told = waits(ArrivalClock(10.0, holds_one_back=False), grabs)
    assert told[:30] == [None] * 30
    assert told[40:] == pytest.approx([0.0] * 20, abs=2e-3)


@pytest.mark.parametrize("decode_s", [0.02, 0.03])
def test_slow_decoding_does_not_make_the_frames_of_the_buffer_new(decode_s: float) -> None:
    grabs, now_s = [], 0.0
    for index in range(200):
        now_s = max(now_s + decode_s, index * 0.04 - 0.6)
        grabs.append((index * 0.04, now_s))
    told = waits(ArrivalClock(25.0, holds_one_back=False), grabs)
    waited = next(index for index, (position_s, now_s) in enumerate(grabs) if position_s - 0.6 == now_s)
    assert told[:waited] == [None] * waited
    assert told[waited + 10 :] == pytest.approx([0.0] * (190 - waited), abs=2e-3)


def test_frames_that_come_in_pairs_are_new() -> None:
    grabs = [(index * 0.04, (index // 2) * 0.08 + (index % 2) * 0.001) for index in range(40)]
    assert None not in waits(ArrivalClock(25.0, holds_one_back=False), grabs)[8:]


def test_without_positions_the_stated_rate_tells_what_is_buffered() -> None:
    grabs = [(0.0, 0.001), (0.0, 0.002), *((0.0, 0.1 * index) for index in range(1, 7))]
    assert waits(ArrivalClock(10.0, holds_one_back=False), grabs) == [*[None] * 6, 0.0, 0.0]


def test_a_first_frame_that_was_waited_for_is_followed_by_new_ones() -> None:
    grabs = [(index * 0.1, 4.0 + index * 0.1) for index in range(6)]
    assert waits(ArrivalClock(10.0, holds_one_back=False), grabs) == [*[None] * 4, 0.0, 0.0]
    slow = [(index * 1.0, 4.0 + index) for index in range(4)]
    assert waits(ArrivalClock(1.0, holds_one_back=False), slow) == [None, 0.0, 0.0, 0.0]


def test_a_frame_that_the_next_one_completes_arrived_when_its_predecessor_was_given() -> None:
    new = [(2.0 + index * 0.1, 0.12 + index * 0.1) for index in range(6)]
    told = waits(ArrivalClock(10.0, holds_one_back=True), [*BUFFERED, *new, (2.7, 0.82)])
    assert told[:24] == [None] * 24
    assert told[24:] == pytest.approx([0.1, 0.1, 0.2], abs=1e-3)


def test_the_predecessor_of_a_lost_frame_tells_nothing() -> None:
    clock = ArrivalClock(10.0, holds_one_back=True)
    waits(clock, [(index * 0.1, 1.0 + index * 0.1) for index in range(6)])
    assert clock.seconds(800.0, 1.5, 1.8, in_order=False) == pytest.approx(0.1, abs=1e-3), "by its position"


def test_a_clock_that_is_too_fast_hides_frames_for_seconds_only() -> None:
    told = waits(ArrivalClock(1.0, holds_one_back=False), [(index * 1.0, index * 0.1) for index in range(1, 60)])
    assert told.count(None) == pytest.approx(LONGEST_DRAIN_S * 10, abs=1)
    assert told[-1] is not None


@pytest.mark.parametrize(("sent_fps", "stamped_fps", "most_s"), [(21, 25, 2.5), (29, 30, 0.6), (24.9, 25, 0.5)])
def test_a_camera_that_sends_fewer_frames_than_it_stamps_is_not_late(
    sent_fps: float, stamped_fps: float, most_s: float
) -> None:
    """Its clock falls behind by up to 10 s each minute, and every frame would seem older than the one before."""
    clock, now_s, delays_s = ArrivalClock(stamped_fps, holds_one_back=False), 50.0, []
    for number in range(round(sent_fps * 200)):
        asked_s, now_s = now_s, now_s + 1 / sent_fps
        delays_s.append(clock.seconds(1000 + number * 1000 / stamped_fps, asked_s, now_s))
    assert max(delay_s for delay_s in delays_s if delay_s is not None) < most_s
    assert set(delays_s[-100:]) == {0.0}
    assert clock.falls_behind


def test_a_buffer_on_this_machine_that_grows_steadily_is_reported() -> None:
    """A slow reader never has to wait for a frame."""
    clock, delay_s = ArrivalClock(25, holds_one_back=False), None
    for number in range(5):
        delay_s = clock.seconds(number * 40 + 40, number * 0.04, number * 0.04 + 0.04)
    assert delay_s == 0
    for number in range(5, 600):
        now_s = 0.2 + (number - 4) * 0.05
        delay_s = clock.seconds(number * 40 + 40, now_s - 0.001, now_s)
    assert delay_s == pytest.approx(595 * 0.01, rel=0.02)
    assert not clock.falls_behind
