"""Presentation times of a video's frames."""

import math

MOST_FPS, MOST_STATED_FPS = 240.0, 60.0
"""Highest rate, and the highest that is believed without two frames as close: an AVI may state a clock's rate."""
LONGEST_STEP_S = 1.0
"""A longer distance of two frames is a gap, and is not assumed for frames without a time."""


class PresentationClock:
    """Turns the positions that OpenCV states for a video's frames into times that only increase, from 0.

    A container may give no times, or none for some frames, or start again where files were joined. Then a frame follows
    its predecessor at the distance of the two frames before. Gaps are kept, however long they are.
    """

    def __init__(self, stated_fps: float) -> None:
        self._stated_fps = stated_fps
        self._step_s = 1 / stated_fps
        self._first_step_s: float | None = None
        self._offset_s = 0.0
        self._last_s: float | None = None
        self._last_position_s = 0.0
        self._repeats = 0

    def time_s(self, position_ms: float) -> float:
        """Seconds between the first frame and the next one, which is at this position (CAP_PROP_POS_MSEC)."""
        position_s = position_ms / 1e3 if math.isfinite(position_ms) else 0.0
        last_s, self._repeats = self._last_s, self._repeats + 1 if position_s == self._last_position_s else 0
        self._last_position_s = position_s
        if last_s is None:
            self._offset_s, self._last_s, self._repeats = -position_s, 0.0, 0
            return 0.0
        time_s = position_s + self._offset_s
        if self._repeats == 1 and position_s > 0:  # two frames with one time, before a clock that goes on
            time_s = last_s + self._step_s / 2
        elif time_s <= last_s:
            time_s = last_s + self._step_s
            self._offset_s = time_s - position_s
        else:
            step_s = time_s - last_s
            self._first_step_s = self._first_step_s or step_s
            self._step_s = step_s if step_s <= max(self._step_s, LONGEST_STEP_S) else self._step_s
        self._last_s = time_s
        return time_s

    @property
    def fps(self) -> float:
        """The stated frame rate, or that of the first two frames if it is higher.

        A container states the mean rate, which is too low for frames that come in bursts.
        """
        if self._first_step_s is None:
            return self._stated_fps
        return max(min(self._stated_fps, MOST_STATED_FPS), min(1 / self._first_step_s, MOST_FPS))
