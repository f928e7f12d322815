"""The status of the whole run, for the page, the metrics and the health check."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Event, distinct_names
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.source_stats import RATES_OVER_S, SourceStats, SourceStatus
from mmpnet.system.machine import resident_memory_mb

PERSON = "person"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model's name and classes, the requested provider and the one in use."""

    name: str
    class_names: Sequence[str]
    provider_asked: str
    provider: str

    @property
    def as_asked(self) -> bool:
        """Whether the model runs on the requested provider; `auto` accepts any."""
        return self.provider_asked in ("auto", self.provider)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The current status of the run."""

    version: str
    model: str
    provider: str
    running_s: float
    cpu_percent: float
    """CPU time over the last 10 s: 100 is one core fully used."""
    memory_mb: float | None
    stale_after_s: float
    problems: tuple[str, ...]
    """Reasons why the run is not healthy; empty if it is."""
    sources: tuple[SourceStatus, ...]


class StatusRecorder:
    """Observes every source; the run's thread calls `started`, `record` and `event`, the server's the other methods."""

    def __init__(self, model: ServedModel, stale_after_s: float) -> None:
        self.model = model
        self._stale_after_s = stale_after_s
        self._lock = threading.Lock()
        self._began_s = time.perf_counter()
        self._watches: list[SourceStats] = []
        self._cpu_ticks = deque([(self._began_s, time.process_time())], maxlen=RATES_OVER_S + 1)
        named = [index for index, name in enumerate(model.class_names) if name == PERSON]
        self._people_ids = frozenset(named or range(len(model.class_names)))

    def started(self, sources: Sequence[SourceCounts]) -> None:
        """Set the run's sources, in the order of Frame.stream; their counts are read from now on."""
        names, now_s = distinct_names([counts.source for counts in sources]), time.perf_counter()
        watches = [
            SourceStats(name, counts, stale_after_s=self._stale_after_s, now_s=now_s)
            for name, counts in zip(names, sources, strict=True)
        ]
        with self._lock:
            self._watches = watches

    def name(self, stream: int) -> str:
        """Name of a source, here and in the metrics."""
        return self._watches[stream].name

    def streams(self, source: str) -> list[int]:
        """The streams of a source with this name: several if a source is given repeatedly."""
        return [stream for stream, watch in enumerate(self._watches) if watch.counts.source == source]

    def record(self, result: Result) -> None:
        """Add a result."""
        people = sum(class_id in self._people_ids for class_id in result.detections.class_id.tolist())
        with self._lock:
            self._watches[result.frame.stream].record(result, people, time.perf_counter())

    def event(self, event: Event) -> None:
        """Add a live source's event."""
        with self._lock:
            for stream in self.streams(event.source):
                self._watches[stream].happened(event)

    def tick(self) -> None:
        """Advance by one second."""
        now_s = time.perf_counter()
        with self._lock:
            self._cpu_ticks.append((now_s, time.process_time()))
            for watch in self._watches:
                watch.tick(now_s)

    def status(self) -> RunStatus:
        """The current status."""
        now_s = time.perf_counter()
        with self._lock:
            sources = tuple(watch.status(now_s) for watch in self._watches)
            tick_s, cpu_s = self._cpu_ticks[0]
        return RunStatus(
            version=version("mmpnet"),
            model=self.model.name,
            provider=self.model.provider,
            running_s=round(now_s - self._began_s, 1),
            cpu_percent=round(100 * (time.process_time() - cpu_s) / max(now_s - tick_s, 1e-3), 1),
            memory_mb=resident_memory_mb(),
            stale_after_s=self._stale_after_s,
            problems=self._problems(sources),
            sources=sources,
        )

    def _problems(self, sources: Sequence[SourceStatus]) -> tuple[str, ...]:
        problems = [f"{source.name}: {source.problem}" for source in sources if source.problem]
        if not self.model.as_asked:
            problems.insert(0, f"runs on {self.model.provider}, not on the requested {self.model.provider_asked}")
        return tuple(problems) if sources else (*problems, "the run has not started")
