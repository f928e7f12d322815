"""Write events as NDJSON."""

import threading
from collections.abc import Sequence
from pathlib import Path

from mmpnet.runtime.events.event import encode_event
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.json_lines import JsonLines
from mmpnet.system.progress import Notice, no_notice


class EventLines:
    """Writes one JSON object per event to a file or, if `target` is -, to stdout; flushed at once.

    Events of cameras are appended to an existing file. Those of files replace it, as they can be found again.

    Raises: OutputError if the target is not writable, or is one of the sources.
    """

    def __init__(
        self,
        target: str,
        *,
        sources: Sequence[Path] = (),
        stop: threading.Event | None = None,
        notify: Notice = no_notice,
    ) -> None:
        self._lines = JsonLines(
            target, option="--events", sources=sources, stop=stop or threading.Event(), notify=notify
        )

    def started(self, summary: Summary) -> None:
        self._lines.append = summary.live

    def put(self, happening: Happening) -> bool:
        return self._lines.write([encode_event(happening.event).decode()])

    def finished(self, summary: Summary) -> None:
        if summary.frames:  # a run without events leaves no events of an earlier run of the same files
            self._lines.write([])

    def close(self) -> None:
        self._lines.close()
