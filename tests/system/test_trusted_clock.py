"""The time by which files and events are too old is believed only if it fits what was known before."""

from mmpnet.system.trusted_clock import JUMP_S, PAUSE_S, TrustedClock

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
LIMIT_S = 30 * DAY_S


class Computer:
    """A wall clock that can be wrong, a monotonic one that begins anew with each boot, and what its disk keeps."""

    def __init__(self) -> None:
        self.wall_s = 1_800_000_000.0
        self.monotonic_s = 10.0
        self.disk: float | None = None
        self.jumps_h: list[float] = []

    def keep(self, time_s: float) -> None:
        self.disk = time_s

    def starts(self) -> TrustedClock:
        return TrustedClock(
            LIMIT_S,
            lambda: self.disk,
            self.keep,
            jumped=self.jumps_h.append,
            wall=lambda: self.wall_s,
            monotonic=lambda: self.monotonic_s,
        )

    def runs(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds

    def boots(self, *, off_s: float = 0.0, wrong_by_s: float = 0.0) -> TrustedClock:
        self.wall_s += off_s + wrong_by_s
        self.monotonic_s = 5.0
        return self.starts()


def test_a_clock_that_runs_is_believed_also_after_a_night() -> None:
    computer = Computer()
    clock = computer.starts()
    for _ in range(100):
        assert clock.now_s() == computer.wall_s
        computer.runs(7 * 3600)
    clock = computer.boots(off_s=DAY_S)
    assert clock.now_s() == computer.wall_s
    assert not computer.jumps_h


def test_a_year_ahead_at_the_start_is_not_believed_however_often() -> None:
    computer = Computer()
    computer.starts().now_s()
    for _ in range(5):
        clock = computer.boots(wrong_by_s=YEAR_S)
        assert clock.now_s() is None
        computer.runs(PAUSE_S / 2)
        assert clock.now_s() is None
        computer.wall_s -= YEAR_S
        assert clock.now_s() == computer.wall_s, "the time is right again"
    assert len(computer.jumps_h) == 5


def test_a_year_ahead_during_the_run_is_not_believed_for_a_day() -> None:
    computer = Computer()
    clock = computer.starts()
    computer.wall_s += YEAR_S
    for _ in range(23):
        assert clock.now_s() is None
        computer.runs(3600)
    computer.wall_s += 2 * JUMP_S  # and again
    for _ in range(24):
        assert clock.now_s() is None
        computer.runs(3600)
    assert clock.now_s() == computer.wall_s
    assert len(computer.jumps_h) == 2


def test_the_first_start_with_a_clock_that_is_ahead_does_not_hide_the_right_time() -> None:
    computer = Computer()
    computer.wall_s += YEAR_S
    computer.starts().now_s()
    clock = computer.boots(wrong_by_s=-YEAR_S)
    assert clock.now_s() is None
    computer.runs(PAUSE_S)
    assert clock.now_s() == computer.wall_s
    assert computer.boots(wrong_by_s=YEAR_S).now_s() is None


def test_what_a_wrong_clock_costs_is_bounded_by_the_limit() -> None:
    computer = Computer()
    computer.starts().now_s()
    assert computer.boots(wrong_by_s=LIMIT_S / 4 - 1).now_s() is not None
    computer = Computer()
    computer.starts().now_s()
    assert computer.boots(wrong_by_s=LIMIT_S / 4 + 1).now_s() is None
