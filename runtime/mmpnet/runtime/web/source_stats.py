"""Statistics of one source: state, recent rates, recent latency."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.frame_grabber import SourceCounts

RATES_OVER_S = 10
HISTORY_S = 180


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The current status of a source; rates are frames per second over the last 10 s."""

    name: str
    state: str
    """As in frame.State; `playing` for a file that is being read."""
    up: bool
    """Whether frames come."""
    reason: str
    """Reason of its state, if there is one."""
    problem: str
    """Reason why the source is not healthy; empty if it is."""
    notice: str
    camera_fps: float
    process_fps: float
    skipped_fps: float
    captured: int
    processed: int
    dropped: int
    late: int
    damaged: int
    repeated: int
    detections: int
    """Number in all frames so far."""
    people: int
    """Number in the newest frame."""
    frame_age_ms: float | None
    """Time since the capture of the newest frame with a result; None before the first."""
    counts: Mapping[str, Mapping[str, int]]
    """Counts of lines (in_count, out_count) and zones (also count), by name."""
    infer_ms: tuple[float | None, ...]
    """Time of the slowest frame in each of the last seconds, oldest first; None for a second without results."""
    age_ms: tuple[float | None, ...]
    """Age of the oldest frame in each of these seconds, when its result came."""


@dataclass(frozen=True, slots=True)
class _Tick:
    at_s: float
    captured: int
    processed: int
    dropped: int


class SourceStats:
    """Collects a source's results and events, and needs `tick` once a second; not thread-safe."""

    def __init__(self, name: str, counts: SourceCounts, *, stale_after_s: float, now_s: float) -> None:
        self.name = name
        self.counts = counts
        self._stale_after_s = stale_after_s
        self._reason = ""
        self._notice = ""
        self._detections = 0
        self._people = 0
        self._tallies: dict[str, dict[str, int]] = {}
        self._result_s = now_s
        self._captured_s: float | None = None
        self._ticks: deque[_Tick] = deque(maxlen=RATES_OVER_S + 1)
        self._slowest_ms: float | None = None
        self._oldest_ms: float | None = None
        self._history: deque[tuple[float | None, float | None]] = deque(maxlen=HISTORY_S)
        self._ticks.append(self._counted(now_s))

    def record(self, result: Result, people: int, now_s: float) -> None:
        """Add a result with this number of people."""
        self._result_s, self._captured_s = now_s, result.frame.captured_s
        self._detections += len(result.detections)
        self._people = people
        if result.counts is not None:
            self._tallies = {name: dict(values) for name, values in result.counts.items()}
        self._slowest_ms = max(result.times.infer_ms, self._slowest_ms or 0.0)
        self._oldest_ms = max(result.age_ms, self._oldest_ms or 0.0)

    def happened(self, event: Event) -> None:
        """Add an event of this source."""
        if event.kind == "notice":
            self._notice = event.reason
        else:
            self._reason = event.reason.removeprefix(f"{event.source}: ")

    def tick(self, now_s: float) -> None:
        """Advance by one second."""
        self._ticks.append(self._counted(now_s))
        self._history.append((self._slowest_ms, self._oldest_ms))
        self._slowest_ms = self._oldest_ms = None

    def status(self, now_s: float) -> SourceStatus:
        """The current status."""
        counts, state = self.counts, self._state()
        oldest, latest = self._ticks[0], self._counted(now_s)
        over_s = now_s - oldest.at_s
        per_s = 1 / over_s if over_s >= 0.5 else 0.0
        return SourceStatus(
            name=self.name,
            state=state,
            up=state in ("live", "playing"),
            reason=self._reason,
            problem=self._problem(state, now_s),
            notice=self._notice,
            camera_fps=round((latest.captured - oldest.captured) * per_s, 3),
            process_fps=round((latest.processed - oldest.processed) * per_s, 3),
            skipped_fps=round((latest.dropped - oldest.dropped) * per_s, 3),
            captured=latest.captured,
            processed=latest.processed,
            dropped=latest.dropped,
            late=counts.late,
            damaged=counts.damaged,
            repeated=counts.repeated,
            detections=self._detections,
            people=self._people,
            frame_age_ms=None if self._captured_s is None else round((now_s - self._captured_s) * 1e3, 1),
            counts=self._tallies,
            infer_ms=tuple(_rounded(infer_ms) for infer_ms, _ in self._history),
            age_ms=tuple(_rounded(age_ms) for _, age_ms in self._history),
        )

    def _state(self) -> str:
        # A file has no states while it is read: it is opened, read and closed.
        if not self.counts.live and self.counts.state == "connecting" and self.counts.captured:
            return "playing"
        return self.counts.state

    def _problem(self, state: str, now_s: float) -> str:
        if state == "closed" and not self.counts.live and not self._reason:
            return ""  # a file that was read completely
        if state not in ("live", "playing"):
            return f"{state}: {self._reason}" if self._reason else state
        silent_s = now_s - self._result_s
        if silent_s >= self._stale_after_s:
            return f"no result for {silent_s:.0f} s"
        return "" if self._captured_s is not None else "no result yet"

    def _counted(self, now_s: float) -> _Tick:
        return _Tick(now_s, self.counts.captured, self.counts.processed, self.counts.dropped)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
