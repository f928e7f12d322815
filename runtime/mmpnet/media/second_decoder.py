"""Decode a video by PyAV beside OpenCV, to know which frames are interlaced, and to have their pixels."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.decoder_check import CLIP, are_grays_of_clip

_HALF_MS = 5e-4
"""Positions of the same frame differ by less, as both libraries compute them from the same integers."""


@dataclass(frozen=True, slots=True)
class SecondView:
    """What PyAV says of a frame: whether it is interlaced, and then its pixels, (H, W, 3) BGR uint8."""

    pixels_bgr: UInt8Array | None


@cache
def second_decoder_works() -> bool:
    """Whether PyAV is installed and decodes the clip of the self-test correctly."""
    if importlib.util.find_spec("av") is None:
        return False
    with as_file(files("mmpnet.media") / CLIP) as clip:
        decoder = SecondDecoder(clip)
        views = [decoder.frame(number, number / 25) for number in range(5)]
        decoder.close()
    pixels = [view.pixels_bgr for view in views if view is not None and view.pixels_bgr is not None]
    return views[-1] is None and are_grays_of_clip([float(one.mean()) for one in pixels])


class SecondDecoder:
    """Decodes a video once, from its start on, as far as it is asked."""

    def __init__(self, path: Path) -> None:
        import av

        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._count = 0
        self._first_s: float | None = None
        try:
            self._container = av.open(str(path.absolute()))
            stream = self._container.streams.video[0]
            stream.thread_type = "AUTO"
            self._frames = _frames_of(self._container, stream)
        except (OSError, ValueError, IndexError):  # av's errors are OSError or ValueError
            self.close()

    def frame(self, number: int, time_s: float | None) -> SecondView | None:
        """The frame with this time, or with this number if there is no time; None if there is no such frame.

        Both are counted from the first frame. It must not come before the frame of the call before.
        """
        for frame in self._frames:
            self._count += 1
            if self._first_s is None:
                self._first_s = frame.time
            if time_s is None or frame.time is None or self._first_s is None:
                if self._count > number:
                    return _view(frame)
            elif (later_s := frame.time - self._first_s - time_s) >= -_HALF_MS:
                return _view(frame) if later_s <= _HALF_MS else None
        return None

    def close(self) -> None:
        """Close the file; there are no more frames then."""
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None


def _frames_of(container: Any, stream: Any) -> Iterator[Any]:
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except (OSError, ValueError):  # a damaged packet; the others follow
                continue
    except (OSError, ValueError):  # the file ends here
        return


def _view(frame: Any) -> SecondView | None:
    if not frame.interlaced_frame:
        return SecondView(None)
    if frame.rotation:  # OpenCV turns its frames; an interlaced one that is turned is not known to exist
        return None
    return SecondView(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
