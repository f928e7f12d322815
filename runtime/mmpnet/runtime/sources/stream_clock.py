"""Estimate how long frames waited before they were read, from the clock of the stream."""

import math

DRIFT = 2e-4
"""Largest difference of two clocks' rates: after an hour, 0.7 s of measured delay may be drift alone."""
JUMP_S = 1.0
LONGEST_S = 60.0
"""No buffer holds more of a stream; a clock that is further behind counts frames, not time."""
BACKLOG = 0.5
"""A frame comes from a buffer if it follows its predecessor in less than this fraction of their distance."""
LONGEST_DRAIN_S = 3.0
"""Frames are skipped for this long at most, as a clock that is too fast looks like a buffer that never empties."""


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


class ArrivalClock:
    """Tells when the frames of one connection arrived, from the grabs, in order.

    FFmpeg reads seconds of a stream before it opens it; these frames then come at once, and are old by an unknown time
    until one had to be waited for. `holds_one_back`: its parser gives a frame when the next one begins to arrive.
    """

    def __init__(self, stated_fps: float, *, holds_one_back: bool) -> None:
        self._clock = StreamClock()
        self._stated_s = 1 / stated_fps
        self._holds_one_back = holds_one_back
        self._drained = False
        self._drain_until_s: float | None = None
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
        if self._drained:
            came_s = last_s if self._holds_one_back and in_order and last_s is not None else now_s
            return now_s - came_s + self._clock.seconds(position_ms, came_s)
        self._drain_until_s = self._drain_until_s or now_s + LONGEST_DRAIN_S
        expected_s = step_s if last_s is not None and 0 < step_s < LONGEST_S else self._stated_s
        took_s = now_s - (asked_s if last_s is None else last_s)
        self._drained = took_s >= BACKLOG * expected_s or now_s >= self._drain_until_s
        if not self._drained:
            return None
        # The grab before this one returned from the buffer, so it does not tell when this frame arrived.
        return expected_s if self._holds_one_back else 0.0
