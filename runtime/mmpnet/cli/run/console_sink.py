"""The console output of mmp-run: events while it runs, and a table at the end."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmpnet.cli.run.run_display import RunDisplay
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import counted
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event

_LOG = logging.getLogger(__name__)
PERSON, AGE = "person", "frame age"


class ConsoleSink(Sink):
    """Prints one line per event of a live source, and the run's statistics at the end.

    On a terminal it also shows one updating line per source; elsewhere, as in a log file, only plain lines.
    totals: number of frames of each source, None where it is unknown.
    """

    def __init__(self, console: Console, class_names: Sequence[str], totals: Sequence[int | None] = ()) -> None:
        self._console = console
        self._class_names = class_names
        self._alone = False
        self._began_s = 0.0
        people = [index for index, name in enumerate(class_names) if name == PERSON]
        ids = people or range(len(class_names))
        noun = "people" if people else "detections"
        self._display = RunDisplay(console, totals, noun=noun, counted_ids=ids) if console.is_terminal else None

    def started(self, summary: Summary) -> None:
        self._alone = len(summary.sources) == 1
        self._began_s = time.perf_counter()
        if self._display is not None:
            self._display.start(summary)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        if self._display is not None:
            self._display.update(result)
        return True

    def idle(self) -> bool:
        if self._display is not None:
            self._display.refresh()
        return True

    def close(self) -> None:
        if self._display is not None:
            self._display.stop()

    def event(self, event: Event) -> None:
        if event.kind == "closed" and self._alone:
            return  # the run ends with this event and reports the reason
        if event.kind == "notice":
            _LOG.warning("%s", event.reason)
            return
        reason = f": {event.reason.removeprefix(f'{event.source}: ')}" if event.reason else ""
        bad = event.kind in ("stale", "reconnecting") or (event.kind == "closed" and event.reason)
        _LOG.log(logging.WARNING if bad else logging.INFO, "%s %s%s", event.source, event.kind, reason)

    def finished(self, summary: Summary) -> None:
        self.close()
        if _LOG.isEnabledFor(logging.INFO) and any(counts.captured for counts in summary.sources):
            print_summary(self._console, summary, self._class_names, time.perf_counter() - self._began_s)


def print_summary(console: Console, summary: Summary, class_names: Sequence[str], seconds: float) -> None:
    """Print the detections in images, the times of the stages, and the frame counts of each live source.

    seconds: how long the run took.
    """
    if any(len(found) for _, found in summary.images):
        console.print(_images(summary, class_names))
    if summary.frames:
        _print_stages(console, summary)
    console.print(
        f"{counted(summary.detections, 'detection')} in {counted(summary.frames, 'frame')}, "
        f"{summary.frames / max(seconds, 1e-3):.1f} fps, CPU at {summary.cpu_percent:.0f} % of one core"
    )
    for counts in summary.sources:
        if counts.live:
            late = f", {counts.late} of them too old" if counts.late else ""
            damaged = f", {counts.damaged} damaged" if counts.damaged else ""
            repeated = f", {counts.repeated} repeated" if counts.repeated else ""
            console.print(
                f"{counts.source}: {counted(counts.captured, 'frame')} captured, {counts.processed} processed, "
                f"{counts.dropped} dropped{late}{damaged}{repeated}"
            )
    for source, totals in summary.counts.items():
        for name, values in totals.items():
            for label, tally in ((name, values), *((f"{name}, {one}", of) for one, of in _by_class(values))):
                console.print(f"{source}, {label}: {_listed(tally)}")


def _print_stages(console: Console, summary: Summary) -> None:
    """Print the times of the stages: as a table on a terminal, as one line in a log."""
    stages = {
        name: ["-" if value is None else f"{value:.2f}" for value in row.values()]
        for name, row in summary.percentiles().items()
        if name != AGE or summary.live  # a frame of a file has no age
    }
    if not console.is_terminal:
        console.print("ms, p50/p90/p99: " + ", ".join(f"{name} {'/'.join(row)}" for name, row in stages.items()))
        return
    table = Table("stage", "p50 ms", "p90", "p99")
    for name, row in stages.items():
        table.add_row(name, *row)
    console.print(table)


def _by_class(counts: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return counts.get("classes", {}).items()  # type: ignore[no-any-return]


def _listed(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in counts.items() if key != "classes")


def _images(summary: Summary, class_names: Sequence[str]) -> Table:
    table = Table("image", "name", "score", "x1", "y1", "x2", "y2")
    for source, found in summary.images:
        for xyxy, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
            corners = [f"{value:.0f}" for value in xyxy]
            table.add_row(Path(source).name, class_names[class_id], f"{score:.2f}", *corners)
    if summary.frames > len(summary.images):
        table.caption = f"{len(summary.images)} of {counted(summary.frames, 'frame')}; --json lists all"
    return table
