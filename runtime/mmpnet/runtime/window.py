"""Results in a window, one per source."""

from datetime import datetime
from pathlib import Path

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.draw import draw_warning
from mmpnet.runtime.frames import Event
from mmpnet.runtime.pictures import write_picture
from mmpnet.runtime.sinks import Result, Sink

QUIT_KEYS = frozenset({ord("q"), 27})
PAUSE_KEY, SNAPSHOT_KEY = ord(" "), ord("s")
_NO_KEY = 255


class WindowSink(Sink):
    """Windows; q or Esc ends the run, s saves what is seen, space pauses, any key goes on to the next picture.

    Pausing a live source stills its window only: what is recorded elsewhere goes on. Pausing a file stops the run.
    """

    wants_picture = True

    def __init__(self, snapshots: Path = Path()) -> None:
        self._snapshots = snapshots
        self._seen: dict[str, UInt8Array] = {}
        self._paused = False
        self._file = False
        self._picture = False

    @property
    def holding(self) -> bool:  # type: ignore[override]
        """Whether a picture waits for its key, or a file is paused."""
        return self._picture or (self._paused and self._file)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        assert annotated_bgr is not None
        self._file = result.frame.kind != "camera"
        self._picture = result.frame.kind == "picture"
        if not self._paused:
            # A still picture has to outlive the canvas that the next frame is painted on.
            self._seen[result.frame.source] = annotated_bgr.copy() if self._picture else annotated_bgr
            cv2.imshow(_title(result.frame.source), annotated_bgr)
        return self._keys()

    def event(self, event: Event) -> None:
        seen = self._seen.get(event.source)
        if seen is not None and event.kind in ("stale", "reconnecting", "closed"):
            # The last picture stays on the screen: it must not look like the present.
            draw_warning(seen, event.kind.upper())
            cv2.imshow(_title(event.source), seen)

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
        elif key == PAUSE_KEY and not self._picture:
            self._paused = not self._paused
        elif key != _NO_KEY:
            self._picture = False
        closed = any(cv2.getWindowProperty(_title(source), cv2.WND_PROP_VISIBLE) < 1 for source in self._seen)
        return key not in QUIT_KEYS and not closed

    def _snapshot(self) -> None:
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        for number, seen in enumerate(self._seen.values()):
            write_picture(self._snapshots / f"mmpnet-{now}-{number}.png", seen)


def _title(source: str) -> str:
    return f"{source} - mmpnet: q quits, s saves, space pauses"
