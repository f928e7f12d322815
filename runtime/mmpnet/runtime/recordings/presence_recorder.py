"""Record one camera from seconds before somebody is seen until seconds after."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.h264 import ClipFile, EncodedFrame, FrameEncoder

MOST_KEPT_BYTES = 32 << 20
"""Of a camera that sends more than this within `before_s`, less is kept."""


@dataclass(frozen=True, slots=True)
class RecordTimes:
    """Seconds before somebody is seen, seconds after, and the longest file in seconds."""

    before_s: float = 5.0
    after_s: float = 5.0
    segment_s: float = 600.0


class PresenceRecorder:
    """Writes clips of one camera. Every frame is encoded once; those of the last seconds are kept in memory, encoded.

    new_path: gives the path of a clip that begins at a moment. finish: closes a clip, now or later.
    """

    def __init__(
        self,
        new_path: Callable[[datetime], Path],
        times: RecordTimes,
        *,
        finish: Callable[[ClipFile], object] = ClipFile.close,
    ) -> None:
        self._new_path = new_path
        self._finish = finish
        self._times = times
        self._encoder: FrameEncoder | None = None
        self._before: deque[EncodedFrame] = deque()
        self._before_bytes = 0
        self._clip: ClipFile | None = None
        self._clip_s = 0.0
        self._present_s = 0.0
        self._fps = 1.0

    @property
    def clip(self) -> Path | None:
        """The clip that is being written."""
        return None if self._clip is None else self._clip.path

    def add(self, frame_bgr: UInt8Array, time_s: float, at: datetime, *, present: bool, fps: float) -> None:
        """Add a frame (H, W, 3) BGR with its time in s on a clock that only increases, and its time of day.

        Raises: OutputError if the clip cannot be written; it is given up, and the next one begins when `present` again.
        """
        if self._encoder is None or self._encoder.frame_hw != frame_bgr.shape[:2]:
            self.close()
            self._encoder, self._fps = FrameEncoder((frame_bgr.shape[0], frame_bgr.shape[1]), fps=fps), fps
        if self._clip is not None and not present and time_s - self._present_s > self._times.after_s:
            self.close()
        self._present_s = time_s if present else self._present_s
        ends = self._clip is not None and time_s - self._clip_s >= self._times.segment_s
        frame = self._encoder.encode(frame_bgr, time_s, key=ends)
        if ends:
            self.close()
        if self._clip is None and (present or ends):
            self._remember(frame)
            self._begin(frame, at)
        elif self._clip is not None:
            self._write(frame)
        else:
            self._remember(frame)

    def close(self) -> None:
        """Finish the clip. Raises: OutputError."""
        clip, self._clip = self._clip, None
        self._before.clear()
        self._before_bytes = 0
        if clip is not None:
            self._finish(clip)

    def _begin(self, frame: EncodedFrame, at: datetime) -> None:
        assert self._encoder is not None
        kept = list(self._before)
        self._before.clear()
        self._before_bytes = 0
        began = at - timedelta(seconds=frame.time_s - kept[0].time_s)
        self._clip = ClipFile(self._new_path(began), frame_hw=self._encoder.even_hw, fps=self._fps)
        self._clip_s = kept[0].time_s
        for one in kept:
            self._write(one)

    def _write(self, frame: EncodedFrame) -> None:
        assert self._clip is not None
        try:
            self._clip.write(frame)
        except BaseException:
            self._clip = None  # what is in the file stays readable
            raise

    def _remember(self, frame: EncodedFrame) -> None:
        self._before.append(frame)
        self._before_bytes += len(frame.content)
        keys = [index for index, one in enumerate(self._before) if one.key]
        # The clip begins at a key frame: drop all before the last one that is old enough.
        old = [index for index in keys if frame.time_s - self._before[index].time_s >= self._times.before_s]
        if self._before_bytes > MOST_KEPT_BYTES:
            old += keys[1:2]
        for _ in range(max(old, default=0)):
            self._before_bytes -= len(self._before.popleft().content)
