"""Show results in windows, one per source."""

from datetime import datetime
from pathlib import Path

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import well_formed
from mmpnet.media.drawing import draw_warning
from mmpnet.media.images import write_image
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event
from mmpnet.system.progress import Notice, no_notice

QUIT_KEYS = frozenset({ord("q"), 27})
PAUSE_KEY, SNAPSHOT_KEY = ord(" "), ord("s")
_NO_KEY = 255


class WindowSink(Sink):
    """One window per source; q or Esc ends the run, s saves the current image, space pauses, any key shows the next
    image.

    With a live source nothing waits: pausing only stops the windows, and images follow one another.
    """

    wants_annotated = True

    def __init__(self, snapshots: Path = Path(), *, notify: Notice = no_notice) -> None:
        self._notify = notify
        self._snapshots = snapshots
        self._names: list[str] = []
        self._live = False
        self._seen: dict[int, UInt8Array] = {}
        self._paused = False
        self._image = False

    @property
    def holding(self) -> bool:  # type: ignore[override]
        """Whether an image waits for a key, or files are paused."""
        return (self._image or self._paused) and not self._live

    def started(self, summary: Summary) -> None:
        self._names = [counts.source for counts in summary.sources]
        self._live = summary.live

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        assert annotated_bgr is not None
        self._image = result.frame.kind == "image"
        if not self._paused:
            self._seen[result.frame.stream] = annotated_bgr
            cv2.imshow(self._title(result.frame.stream), annotated_bgr)
        return self._keys()

    def event(self, event: Event) -> None:
        if event.kind not in ("stale", "reconnecting", "closed"):
            return
        for stream, seen in self._seen.items():
            if self._names[stream] == event.source:
                # The last image stays on the screen, so it must be marked as outdated.
                draw_warning(seen, event.kind.upper())
                cv2.imshow(self._title(stream), seen)

    def idle(self) -> bool:
        return self._keys()

    def close(self) -> None:
        cv2.destroyAllWindows()

    def _keys(self) -> bool:
        if not self._seen:
            return True
        key = cv2.waitKey(1) & 0xFF
        if key == SNAPSHOT_KEY:
            self._snapshot()
        elif key == PAUSE_KEY and not self._image:
            self._paused = not self._paused
            # Copy the shown image, as the canvas is overwritten by the next frame.
            self._seen = {stream: seen.copy() for stream, seen in self._seen.items()}
        elif key != _NO_KEY:
            self._image = False
        closed = any(cv2.getWindowProperty(self._title(stream), cv2.WND_PROP_VISIBLE) < 1 for stream in self._seen)
        return key not in QUIT_KEYS and not closed

    def _snapshot(self) -> None:
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        for stream, seen in self._seen.items():
            path = self._snapshots / f"mmpnet-{now}-{stream}.png"
            try:
                write_image(path, seen)
            except OutputError as error:  # the run continues
                self._notify(str(error))
            else:
                self._notify(f"saved {path}")

    def _title(self, stream: int) -> str:
        return f"{well_formed(self._names[stream])} - mmpnet: q quits, s saves, space pauses"
