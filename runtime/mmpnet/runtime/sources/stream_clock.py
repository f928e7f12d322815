"""Delay of frames before they were read, from the clock of the stream."""

import math

DRIFT = 2e-4
"""Two clocks part by that much at most: after an hour, 0.7 s of delay may be the crystals' alone."""
JUMP_S = 1.0
LONGEST_S = 60.0
"""No buffer holds more of a stream; a clock that falls behind further than this counts frames, not time."""


class StreamClock:
    """The delay of one connection's frames beyond the least that was seen: what has piled up before the decoder.

    A clock that stands, goes back, or jumps ahead is not believed any more.
    """

    def __init__(self) -> None:
        self._believed = True
        self._least_s = math.inf
        self._last_position_s = -math.inf
        self._last_s = 0.0

    def seconds(self, position_ms: float, now_s: float) -> float:
        """Delay of the frame that was grabbed at `now_s` (time.perf_counter) and is at `position_ms` on the stream's
        clock; 0.0 where that clock is no good."""
        if position_ms <= 0 and self._last_s == 0.0:
            return 0.0  # FFmpeg has no time for an RTSP stream's first frames
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
