"""Estimate how long frames waited before they were read, from the clock of the stream."""

import math

DRIFT = 2e-4
"""Largest difference of two clocks' rates: after an hour, 0.7 s of measured delay may be drift alone."""
JUMP_S = 1.0
LONGEST_S = 60.0
"""No buffer holds more of a stream; a clock that is further behind counts frames, not time."""


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
