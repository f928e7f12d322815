"""One updating line per source on a terminal: a progress bar for files, the current state for cameras."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from mmpnet.contract.text import counted
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame_grabber import SourceCounts

REFRESH_S = 0.25
RATE_OVER_S = 3.0
_BAR_WIDTH, _NARROW_BAR_WIDTH, _NARROW = 24, 10, 100


@dataclass(slots=True)
class _Row:
    """What is known of one source."""

    counts: SourceCounts
    total: int | None
    found: int = 0
    age_ms: float = 0.0
    crossed: str = ""
    ticks: deque[tuple[float, int]] = field(default_factory=deque)

    def tick(self, now_s: float) -> None:
        self.ticks.append((now_s, self.counts.processed))
        while len(self.ticks) > 2 and now_s - self.ticks[0][0] > RATE_OVER_S:
            self.ticks.popleft()

    @property
    def fps(self) -> float:
        if len(self.ticks) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self.ticks[0], self.ticks[-1]
        return (last - first) / max(last_s - first_s, 1e-6)


class RunDisplay:
    """Draws on a terminal from `start` to `stop`, between frames; it needs no thread.

    totals: number of frames of each source, None where it is unknown or has no end.
    """

    def __init__(
        self, console: Console, totals: Sequence[int | None], *, noun: str, counted_ids: Collection[int]
    ) -> None:
        self._console = console
        self._totals = totals
        self._noun = noun
        self._counted_ids = frozenset(counted_ids)
        self._rows: list[_Row] = []
        self._live: Live | None = None
        self._drawn_s = 0.0

    def start(self, summary: Summary) -> None:
        """Begin to draw."""
        totals = [*self._totals, *[None] * len(summary.sources)]
        self._rows = [_Row(counts, total) for counts, total in zip(summary.sources, totals, strict=False)]
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def update(self, result: Result) -> None:
        """Take a result."""
        row = self._rows[result.frame.stream]
        row.found = sum(class_id in self._counted_ids for class_id in result.detections.class_id.tolist())
        row.age_ms = result.age_ms
        lines = [tally for tally in (result.counts or {}).values() if "count" not in tally]
        if lines:
            row.crossed = f"in {sum(t['in_count'] for t in lines)} out {sum(t['out_count'] for t in lines)}"
        self.refresh()

    def refresh(self) -> None:
        """Draw, but not more often than every REFRESH_S."""
        now_s = time.monotonic()
        if self._live is None or now_s - self._drawn_s < REFRESH_S:
            return
        self._drawn_s = now_s
        for row in self._rows:
            row.tick(now_s)
        self._live.update(self._table(), refresh=True)

    def stop(self) -> None:
        """Remove the lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(overflow="ellipsis", no_wrap=True, max_width=max(self._console.width // 3, 12))
        table.add_column(overflow="ellipsis", no_wrap=True)
        for row in self._rows:
            if row.counts.live:
                table.add_row(row.counts.source, self._live_text(row))
            else:
                table.add_row(row.counts.source, self._file_grid(row))
        return table

    def _live_text(self, row: _Row) -> str:
        # A camera that is away has no people and no rate; old figures would look like current ones.
        if row.counts.state != "live":
            return row.counts.state
        parts = [f"live {row.fps:.1f} fps", f"{row.age_ms:.0f} ms old", self._people(row), row.crossed]
        return ", ".join(part for part in parts if part)

    def _file_grid(self, row: _Row) -> Table:
        done, fps = row.counts.processed, row.fps
        texts = [f"{fps:.0f} fps", self._people(row), row.crossed]
        grid = Table.grid(padding=(0, 1))
        if row.counts.state == "closed":
            grid.add_row(f"done, {done} {'frame' if done == 1 else 'frames'}")
        elif row.total is None:
            grid.add_row(", ".join([f"{counted(done, 'frame')}", *filter(None, texts)]))
        else:
            total = max(row.total, done)
            left = f"{_clock((total - done) / fps)} left" if fps else ""
            width = _NARROW_BAR_WIDTH if self._console.width < _NARROW else _BAR_WIDTH
            bar = ProgressBar(total=total, completed=done, width=width)
            grid.add_row(bar, f"{100 * done / max(total, 1):3.0f} %", ", ".join(filter(None, [*texts, left])))
        return grid

    def _people(self, row: _Row) -> str:
        singular = {"people": "person"}.get(self._noun, self._noun)
        return f"{row.found} {singular if row.found == 1 else self._noun}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
