"""Results that wait for an encoder: as many as fit into a number of bytes, so that the run never waits for it."""

import threading
from collections import deque
from dataclasses import replace

from mmpnet.runtime.pipeline.results import Result

MOST_WAITING_BYTES = 64 << 20
"""About 10 images of 1920x1080."""
LEAST_WAITING = 2
"""So many images are kept even if they are larger."""


class FrameQueue:
    """Results with copies of their images, from the thread of the run to that of an encoder.

    most_bytes: of all images that wait. What does not fit is left out and counted.
    """

    def __init__(self, most_bytes: int = MOST_WAITING_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[Result] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()
        self.left_out: dict[str, int] = {}
        """Number of images that did not fit, by source."""

    def put(self, result: Result) -> bool:
        """Add a result at once; False if it does not fit. Its image is copied, as the run overwrites pixelated ones."""
        size = result.frame.pixels_bgr.nbytes
        with self._changed:
            fits = self._bytes + size <= self._most_bytes or len(self._waiting) < LEAST_WAITING
            if not fits or self._ended:
                source = result.frame.source
                self.left_out[source] = self.left_out.get(source, 0) + 1
                return False
        frame = replace(result.frame, pixels_bgr=result.frame.pixels_bgr.copy())
        with self._changed:
            self._waiting.append(replace(result, frame=frame))
            self._bytes += size
            self._changed.notify()
        return True

    def get(self, within_s: float) -> Result | None:
        """The next result; None if there is none in time, or none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, within_s)
            if not self._waiting:
                return None
            result = self._waiting.popleft()
            self._bytes -= result.frame.pixels_bgr.nbytes
            return result

    def end(self) -> None:
        """Take no more results; those that wait can still be got."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    @property
    def is_finished(self) -> bool:
        """Whether it has ended and nothing waits."""
        with self._changed:
            return self._ended and not self._waiting
