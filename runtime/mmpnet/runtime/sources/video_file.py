"""Frames of a video file, with their presentation times."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from mmpnet.contract.errors import SourceError
from mmpnet.contract.text import counted
from mmpnet.media.container import missing_bytes
from mmpnet.runtime.sources.frame import Frame, stamp_frame
from mmpnet.runtime.sources.freeze import FirstChange
from mmpnet.runtime.sources.presentation_clock import PresentationClock
from mmpnet.runtime.sources.repeated_frames import RepeatedFrames
from mmpnet.runtime.sources.square_pixels import SquarePixels
from mmpnet.runtime.sources.video_capture import DAMAGED_IN_A_ROW, as_bgr, grab, openable_path, stated_fps
from mmpnet.system.files import is_file

FEW = 0.9
"""A video with less than this fraction of the frames that its header suggests may be incomplete."""
MORE_ATTEMPTS = 500
"""Number of further frames to try then, after DAMAGED_IN_A_ROW frames that cannot be grabbed."""


def video_frames(path: Path, *, stride: int, notify: Callable[[str], None]) -> Iterator[Frame]:
    """Every `stride`-th frame of a video. `notify` gets one line if the video may be incomplete.

    Raises: SourceError, after the frames that can be read, if frames are damaged or the end of the file is missing.
    """
    capture = cv2.VideoCapture(openable_path(path))
    repeats = RepeatedFrames(path)
    try:
        if not capture.isOpened():
            size = counted(path.stat().st_size, "byte") if is_file(path) else "the file is gone"
            raise SourceError(f"{path}: OpenCV cannot open it as a video ({size}); expected a video file")
        reader = _Reader(path, capture, stride, repeats)
        yield from _decoded(reader, notify)
        reader.check_end(notify)
    finally:
        capture.release()
        repeats.close()


def _decoded(reader: "_Reader", notify: Callable[[str], None]) -> Iterator[Frame]:
    """The frames with the rate of the video, which is known after two of them.

    If OpenCV fails its self-test and nothing can judge its frames, none is given before the image has changed once.
    """
    repeats, start = reader.repeats, FirstChange()
    held: list[Frame] = []
    for frame in reader.frames():
        start.look(frame.pixels_bgr)
        if start.count == 1 and (stretched := reader.square.notice(frame.pixels_bgr)) is not None:
            notify(f"{reader.path}: {stretched}")
        if start.count < 2 or (repeats.is_blind and not start.changed):
            # Equal images are kept once.
            held.append(frame if not held else replace(frame, pixels_bgr=held[0].pixels_bgr))
            continue
        for one in [*held, frame]:
            yield replace(one, pixels_bgr=one.pixels_bgr.copy() if len(held) > 1 else one.pixels_bgr, fps=reader.fps)
        held.clear()
    all_equal = start.count > 1 and not start.changed
    if all_equal and repeats.unproven:
        raise SourceError(f"{reader.path}: all {start.count} frames are equal to the byte; {repeats.advice}")
    yield from held
    if all_equal:
        notify(f"{reader.path}: all {start.count} frames are equal to the byte; check that it shows a still scene")


class _Reader:
    """Reads an open video once, and counts its frames."""

    def __init__(self, path: Path, capture: Any, stride: int, repeats: RepeatedFrames) -> None:
        self.path = path
        self.repeats = repeats
        self._capture = capture
        self._stride = stride
        self.square = SquarePixels(capture)
        self._clock = PresentationClock(stated_fps(capture))
        self._stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._count = 0
        self._damaged = 0
        self._last_s = 0.0

    @property
    def fps(self) -> float:
        """The rate of the frames that are used."""
        return self._clock.fps / self._stride

    def frames(self) -> Iterator[Frame]:
        while True:
            began_s = time.perf_counter()
            passed_over = self._grab()
            if passed_over is None:
                return
            self._damaged += passed_over
            self._count += 1
            position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            self._last_s = self._clock.time_s(position_ms)
            if (self._count - 1) % self._stride:
                continue
            delivered, pixels = self._capture.retrieve()
            if not delivered:
                self._damaged += 1
                continue
            pixels_bgr = self.repeats.checked(as_bgr(pixels), self._count - 1, position_ms / 1e3)
            pixels_bgr = self.square.apply(pixels_bgr)
            yield stamp_frame(
                pixels_bgr,
                source=str(self.path),
                kind="video",
                fps=self.fps,
                started_s=began_s,
                index=self._count - 1 + self._damaged,
                source_time_s=self._last_s,
            )

    def check_end(self, notify: Callable[[str], None]) -> None:
        """Check that the video was read to its end.

        Only what the container states for certain is an error. The number of frames is an estimate in most containers:
        the longest stream, which may be the sound, from time 0, times a mean rate.
        """
        if not self._count:
            raise SourceError(
                f"{self.path}: the video has no readable frame; it may be truncated or of an unknown codec"
            )
        if self._damaged:
            raise SourceError(
                f"{self.path}: skipped {counted(self._damaged, 'damaged frame')}, read {self._count}; "
                "copy the file again"
            )
        if (reason := self.repeats.explain(self._count)) is not None:
            raise SourceError(reason)
        read = f"{counted(self._count, 'frame')} of {self._last_s:.1f} s"
        try:
            missing = missing_bytes(self.path)
        except OSError:  # the file was removed in the meantime
            missing = None
        if missing:
            lost = counted(missing, "byte", ("is", "are"))
            raise SourceError(
                f"{self.path}: the file is truncated: {lost} missing at its end, read {read}; copy the file again"
            )
        if missing is None and self._count < FEW * self._stated:
            notify(
                f"{self.path}: read {read}; its header suggests about {self._stated:.0f} frames, which is an estimate; "
                "if it shows less than expected, it may be damaged"
            )

    def _grab(self) -> int | None:
        """Grab the next frame; returns how many damaged ones were skipped, and None at the end of the video."""
        passed_over = grab(self._capture)
        if passed_over is None and self._count < FEW * self._stated:
            # It may be a longer damaged part; at the end of a file, all further attempts fail at once.
            return next((DAMAGED_IN_A_ROW + more for more in range(MORE_ATTEMPTS) if self._capture.grab()), None)
        return passed_over
