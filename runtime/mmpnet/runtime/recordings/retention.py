"""Delete recordings that are too old or too much, oldest first."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.recordings.names import Recording, recordings_in
from mmpnet.system.files import atomic_write
from mmpnet.system.trusted_clock import TrustedClock

EVERY_S = 60.0
CLOCK_FILE = ".mmpnet-clock"
"""In the folder of recordings: the last time that was believed."""
_AGE_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SIZE_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept: recordings of the last `age_s` seconds, and at most `size_bytes`; None is no limit."""

    age_s: float | None = None
    size_bytes: int | None = None


def parse_keep(texts: Iterable[str]) -> Keep:
    """Parse limits such as `14d` and `20GB`. Raises: ValueError for anything else, and for two of one kind."""
    age_s: float | None = None
    size_bytes: int | None = None
    for text in texts:
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|h|d|w|MB|GB|TB)", text.strip())
        if matched is None or not float(matched[1]):
            raise ValueError(f"{text!r}: expected an age such as 14d (m, h, d, w) or a size such as 20GB (MB, GB, TB)")
        number, unit = float(matched[1]), matched[2]
        if (unit in _AGE_UNITS_S and age_s is not None) or (unit in _SIZE_UNITS and size_bytes is not None):
            raise ValueError(f"{text!r}: there is another limit of this kind; give one age and one size")
        if unit in _AGE_UNITS_S:
            age_s = number * _AGE_UNITS_S[unit]
        else:
            size_bytes = round(number * _SIZE_UNITS[unit])
    return Keep(age_s, size_bytes)


class Retention:
    """Applies the limits to a folder of recordings; files of others in it are never touched.

    While the computer's clock cannot be believed, nothing is deleted because of its age. wall, monotonic: clocks in
    seconds.
    """

    def __init__(
        self,
        folder: Path,
        keep: Keep,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._monotonic = monotonic
        self._next_s = monotonic()
        self._clock = TrustedClock(
            keep.age_s or 0.0, self._load_time, self._save_time, jumped=_say_jump, wall=wall, monotonic=monotonic
        )

    def tick(self, in_use: Collection[Path] = ()) -> list[Path]:
        """Apply the limits once a minute; call it often. Returns what was deleted. `in_use` is kept."""
        now_s = self._monotonic()
        if now_s < self._next_s or self._keep == Keep():
            return []
        self._next_s = now_s + EVERY_S
        found = sorted(recordings_in(self._folder), key=lambda one: (one.began, one.path.name))
        return [one.path for one in self._too_many(found) if one.path not in in_use and _deleted(one.path)]

    def _load_time(self) -> float | None:
        try:
            return float((self._folder / CLOCK_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _save_time(self, time_s: float) -> None:
        with suppress(OutputError), atomic_write(self._folder / CLOCK_FILE) as partial:  # the next start asks again
            partial.write_text(f"{time_s:.0f}\n", encoding="utf-8")

    def _too_many(self, found: list[Recording]) -> list[Recording]:
        """The oldest recordings, oldest first, without which the limits hold."""
        count = 0
        now_s = None if self._keep.age_s is None else self._clock.now_s()
        if self._keep.age_s is not None and now_s is not None:
            oldest_s = now_s - self._keep.age_s
            count = sum(one.began.timestamp() < oldest_s for one in found)
        total_bytes = sum(one.size_bytes for one in found[count:])
        while self._keep.size_bytes is not None and total_bytes > self._keep.size_bytes and count < len(found):
            total_bytes -= found[count].size_bytes
            count += 1
        return found[:count]


def _say_jump(hours: float) -> None:
    _LOG.warning("the clock jumped by %+.1f h; for a day no recording is deleted because of its age", hours)


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except OSError as error:
        _LOG.warning("%s: cannot be deleted (%s)", path, error.strerror)
        return False
    with suppress(OSError):  # the day is empty, or it is not
        path.parent.rmdir()
    return True
