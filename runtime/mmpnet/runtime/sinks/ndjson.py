"""Write results and events as NDJSON."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import well_formed
from mmpnet.runtime.pipeline.results import Result, event_as_dict, result_as_dict
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.json_lines import JsonLines
from mmpnet.runtime.sinks.line_writer import destroys_nothing
from mmpnet.runtime.sources.frame import Event
from mmpnet.system.progress import Notice, no_notice

if TYPE_CHECKING:
    from mmpnet.runtime.pipeline.summary import Summary


class NdjsonSink(Sink):
    """Writes one JSON object per frame, flushed at once; events and the summary of live sources have the key `event`.

    A file is opened at the first frame or, if the run waits for sources, when one of them works, so that a run that
    fails earlier keeps the old content. Results of files replace the old content, as they can be computed again;
    results of live sources are appended. Stdout, pipes and devices get everything from the first event. The sink
    waits for a slow reader, but only two seconds after `stop` is set; then it reports to `notify`.

    Raises: OutputError if the target is not writable, or is one of the sources.
    """

    def __init__(
        self,
        target: str,
        class_names: Sequence[str],
        *,
        sources: Sequence[Path] = (),
        stop: threading.Event | None = None,
        notify: Notice = no_notice,
    ) -> None:
        self._lines = JsonLines(target, option="--json", sources=sources, stop=stop or threading.Event(), notify=notify)
        self._class_names = class_names
        self._at_once = destroys_nothing(target)
        self._waiting: list[dict[str, Any]] = []

    def started(self, summary: "Summary") -> None:
        self._lines.append = summary.live

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        return self._append(result_as_dict(result, self._class_names))

    def event(self, event: Event) -> None:
        line = event_as_dict(event)
        if not self._lines.is_open and event.kind != "reconnecting" and not self._at_once:
            self._waiting.append(line)
        else:
            self._append(line)

    def idle(self) -> bool:
        return not self._lines.gone

    def finished(self, summary: "Summary") -> None:
        # For files, the output has exactly one line per frame.
        begun = self._at_once or self._lines.is_open or any(counts.captured for counts in summary.sources)
        if summary.live and begun:
            self._append({"event": "summary", **summary.facts()})

    def close(self) -> None:
        self._lines.close()

    def _append(self, line: dict[str, Any]) -> bool:
        entries, self._waiting = [*self._waiting, line], []
        return self._lines.write([well_formed(json.dumps(entry, ensure_ascii=False)) for entry in entries])
