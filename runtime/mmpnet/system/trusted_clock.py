"""A clock for deleting by age, which does not believe the computer's clock when that has jumped."""

import time
from collections.abc import Callable

JUMP_S = 3600.0
"""Smaller jumps are those of a clock that is set."""
PAUSE_S = 24 * 3600.0
"""After so many seconds of running without another jump, the new time is believed."""
SAVE_EVERY_S = 3600.0
MOST_SHARE = 4
"""A jump ahead of up to 1 / MOST_SHARE of the age limit is believed: computers are switched off, too."""


class TrustedClock:
    """Says what time it is, or that this is not certain.

    The clock of a computer without a battery for it is wrong until it finds a time server, and may be years ahead. So
    a time is believed only if it fits the last one that was, plus the seconds that have passed in this run. A wrong
    clock then costs no more than a quarter of the age limit, however often the program starts.

    age_s: the limit that the time is for. load: the last time in s that was believed, None if there is none. save:
    keeps it for the next start. jumped: gets the hours by which the clock jumped. wall, monotonic: clocks in seconds.
    """

    def __init__(
        self,
        age_s: float,
        load: Callable[[], float | None],
        save: Callable[[float], None],
        *,
        jumped: Callable[[float], None] = lambda _hours: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ahead_s = max(JUMP_S, age_s / MOST_SHARE)
        self._save = save
        self._jumped = jumped
        self._wall = wall
        self._monotonic = monotonic
        self._saved_s = load()
        self._believed_s = wall() if self._saved_s is None else self._saved_s
        self._at_s = monotonic()
        self._suspect_since_s: float | None = None
        self._suspect_apart_s = 0.0

    def now_s(self) -> float | None:
        """The time in s since 1970; None if it cannot be believed now. Raises: what `save` raises."""
        wall_s, at_s = self._wall(), self._monotonic()
        believed_s = self._believed_s + at_s - self._at_s
        off_s, apart_s = wall_s - believed_s, wall_s - at_s
        if not -JUMP_S <= off_s <= self._ahead_s:
            if self._suspect_since_s is None or abs(apart_s - self._suspect_apart_s) > JUMP_S:
                self._suspect_since_s, self._suspect_apart_s = at_s, apart_s
                self._jumped(off_s / 3600)
            if at_s - self._suspect_since_s < PAUSE_S:
                return None
        self._suspect_since_s, self._believed_s, self._at_s = None, wall_s, at_s
        if self._saved_s is None or abs(wall_s - self._saved_s) >= SAVE_EVERY_S:
            self._save(wall_s)
            self._saved_s = wall_s
        return wall_s
