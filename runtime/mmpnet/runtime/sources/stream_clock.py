"""Estimate how long frames waited before they were read, from the clock of the stream."""

import math
from itertools import pairwise

DRIFT = 2e-4
"""Largest difference of two clocks' rates: after an hour, 0.7 s of measured delay may be drift alone."""
JUMP_S = 1.0
LONGEST_S = 60.0
"""No buffer holds more of a stream; a clock that is further behind counts frames, not time."""
BACKLOG = 0.5
"""A frame comes from a buffer if it follows its predecessor in less than this fraction of their distance."""
KEPT_UP_FRAMES, KEPT_UP_S = 4, 0.5
"""A buffer is empty if frames have come at their own rate for this many frames, or for this long. One wait is not
enough: a busy machine also pauses, or decodes slowly, while it reads a full buffer."""
LONGEST_DRAIN_S = 3.0
"""Frames are skipped for this long at most, as a clock that is too fast looks like a buffer that never empties."""

WINDOWS_S = (2.5, 20.0, 160.0)
WINDOWS = 5
LEAST_GROWTH_S = 0.02
"""Delays whose minima grow by at least this from window to window, and steadily, are those of a clock that is wrong."""
_STEADY = 0.6, 1.6
_MOSTLY = 0.8


class SteadyGrowth:
    """Watches the least delay in each of WINDOWS windows of `window_s`.

    Many cameras stamp frames for a rate that they do not reach: with 25 and 21, the stream's clock falls behind by 10 s
    each minute. A buffer that fills does not grow steadily for long, and if it is on this machine, no frame has to be
    waited for.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._ends_s: float | None = None
        self._least_s = math.inf
        self._waited: list[bool] = []
        self._minima_s: list[float] = []

    def is_steady(self, delay_s: float, now_s: float, *, waited: bool) -> bool:
        """Take the delay of the frame that was grabbed at `now_s`, after a wait or not."""
        self._ends_s = now_s + self._window_s if self._ends_s is None else self._ends_s
        if now_s >= self._ends_s:
            mostly = sum(self._waited) >= _MOSTLY * len(self._waited)
            self._minima_s = [*self._minima_s, self._least_s][-WINDOWS:] if mostly else []
            self._ends_s, self._least_s, self._waited = now_s + self._window_s, math.inf, []
        self._least_s = min(self._least_s, delay_s)
        self._waited.append(waited)
        growths_s = [later - earlier for earlier, later in pairwise(self._minima_s)]
        mean_s = sum(growths_s) / max(len(growths_s), 1)
        least, most = _STEADY[0] * mean_s, _STEADY[1] * mean_s
        return len(growths_s) == WINDOWS - 1 and mean_s >= LEAST_GROWTH_S and all(least <= g <= most for g in growths_s)


class StreamClock:
    """Measures the delay of a connection's frames relative to the smallest delay seen: the wait before the decoder.

    A clock that stops, goes back, or jumps ahead is ignored from then on.
    """

    def __init__(self) -> None:
        self._believed = True
        self._least_s = math.inf
        self._last_position_s = -math.inf
        self._last_s = 0.0

    def seconds(self, position_ms: float, now_s: float) -> float:
        """Delay of the frame that was grabbed at `now_s` (time.perf_counter) and is at `position_ms` on the stream's
        clock; 0.0 if that clock is unusable."""
        if position_ms <= 0 and self._last_s == 0.0:
            return 0.0  # FFmpeg gives no time for the first frames of an RTSP stream
        position_s = position_ms / 1e3
        apart_s = now_s - position_s
        allowed_s = self._least_s + DRIFT * (now_s - self._last_s)
        self._believed = (
            self._believed
            and math.isfinite(position_s)
            and position_s > self._last_position_s
            and (apart_s > self._least_s - JUMP_S or math.isinf(self._least_s))
            and (apart_s < allowed_s + LONGEST_S)
        )
        if not self._believed:
            return 0.0
        self._least_s = min(apart_s, allowed_s)
        self._last_position_s, self._last_s = position_s, now_s
        return apart_s - self._least_s

    def ignore(self) -> None:
        """Do not believe this clock any more."""
        self._believed = False


class ArrivalClock:
    """Tells when the frames of one connection arrived, from the grabs, in order.

    FFmpeg reads seconds of a stream before it opens it; these frames then come at once, and are old by an unknown time
    until one had to be waited for, and the next ones came at their own rate. `holds_one_back`: its parser gives a frame
    when the next one begins to arrive. `falls_behind`: whether the clock of the stream fell behind steadily, and is not
    used any more.
    """

    def __init__(self, stated_fps: float, *, holds_one_back: bool) -> None:
        self._clock = StreamClock()
        self._growths = [SteadyGrowth(window_s) for window_s in WINDOWS_S]
        self._stated_s = 1 / stated_fps
        self._holds_one_back = holds_one_back
        self.falls_behind = False
        self._drained = False
        self._drain_until_s: float | None = None
        self._kept_up_since: tuple[float, float] | None = None
        self._last_s: float | None = None
        self._last_position_ms = 0.0

    def seconds(self, position_ms: float, asked_s: float, now_s: float, *, in_order: bool = True) -> float | None:
        """How long the frame had waited that was asked for at `asked_s` and grabbed at `now_s` (time.perf_counter).

        None if it comes from the buffer of the opening, so that this is unknown. `position_ms`: on the stream's clock.
        `in_order`: no frame was lost before it.
        """
        last_s, self._last_s = self._last_s, now_s
        step_s = (position_ms - self._last_position_ms) / 1e3
        self._last_position_ms = position_ms
        if not self._drained:
            expected_s = step_s if last_s is not None and 0 < step_s < LONGEST_S else self._stated_s
            took_s = now_s - (asked_s if last_s is None else last_s)
            self._drained = self._is_drained(position_ms, now_s, took_s=took_s, expected_s=expected_s)
            if not self._drained:
                return None
        came_s = last_s if self._holds_one_back and in_order and last_s is not None else now_s
        delay_s = self._clock.seconds(position_ms, came_s)
        waited = now_s - asked_s >= BACKLOG * step_s
        if any(growth.is_steady(delay_s, now_s, waited=waited) for growth in self._growths):
            self._clock.ignore()
            self.falls_behind, delay_s = True, 0.0
        return now_s - came_s + delay_s

    def _is_drained(self, position_ms: float, now_s: float, *, took_s: float, expected_s: float) -> bool:
        """Whether frames come at their own rate since one had to be waited for: no more of the stream than of time."""
        self._drain_until_s = self._drain_until_s or now_s + LONGEST_DRAIN_S
        if now_s >= self._drain_until_s:
            return True
        if self._kept_up_since is not None:
            from_s, from_ms = self._kept_up_since
            passed_s, moved_s = now_s - from_s, (position_ms - from_ms) / 1e3
            if moved_s > passed_s + expected_s:
                self._kept_up_since = None
            elif passed_s >= min(KEPT_UP_FRAMES * expected_s, KEPT_UP_S):
                return True
        if self._kept_up_since is None and took_s >= BACKLOG * expected_s:
            self._kept_up_since = now_s, position_ms
        return False
