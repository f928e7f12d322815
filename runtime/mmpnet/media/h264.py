"""Encode frames as H.264, keep the encoded frames in memory, and write them to MP4 files with their own times.

OpenCV's wheels have no H.264 encoder, and its writer knows one constant frame rate only; PyAV has both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MissingExtraError, OutputError
from mmpnet.system.files import remove, temporary_file, what_to_do

KEY_EVERY_S = 1.0
"""A clip can begin at a key frame only."""
LONGEST_LAST_S = 0.5
_CLOCK = Fraction(1, 90_000)
_OPTIONS = {"preset": "superfast", "tune": "zerolatency", "crf": "26"}
_FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof", "flush_packets": "1"}


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as H.264, and its time in s on the clock of its camera."""

    content: bytes
    time_s: float
    key: bool


def require_encoder() -> None:
    """Raises: MissingExtraError if PyAV or its H.264 encoder is missing."""
    if "libx264" not in _av().codecs_available:
        raise MissingExtraError("recordings need an H.264 encoder: pip install --force-reinstall 'mmpnet[record]'")


class FrameEncoder:
    """Encodes frames (H, W, 3) BGR of one size; each gives one EncodedFrame at once. An odd last row is left out."""

    def __init__(self, frame_hw: tuple[int, int], *, fps: float) -> None:
        self.frame_hw = frame_hw
        self.even_hw = frame_hw[0] // 2 * 2, frame_hw[1] // 2 * 2
        av = _av()
        self._av = av
        self._codec = av.CodecContext.create("libx264", "w")
        self._codec.height, self._codec.width = self.even_hw
        self._codec.pix_fmt = "yuv420p"  # the only one that all browsers play
        self._codec.time_base = _CLOCK
        self._codec.framerate = Fraction(fps).limit_denominator(1000)
        self._codec.options = dict(_OPTIONS)
        self._codec.thread_count = 1
        self._first_s: float | None = None
        self._last_ticks = -1
        self._key_s = 0.0

    def encode(self, frame_bgr: UInt8Array, time_s: float, *, key: bool = False) -> EncodedFrame:
        """Encode a frame. A time that does not increase is moved behind the one before it."""
        if self._first_s is None:
            self._first_s = time_s
        ticks = max(round((time_s - self._first_s) / _CLOCK), self._last_ticks + 1)
        key = key or self._last_ticks < 0 or time_s - self._key_s >= KEY_EVERY_S
        self._last_ticks = ticks
        image = self._av.VideoFrame.from_ndarray(frame_bgr[: self.even_hw[0], : self.even_hw[1]], format="bgr24")
        image.pts, image.time_base = ticks, _CLOCK
        if key:
            self._key_s = time_s
            image.pict_type = self._av.video.frame.PictureType.I
        (packet,) = self._codec.encode(image)
        return EncodedFrame(bytes(packet), self._first_s + float(ticks * _CLOCK), packet.is_keyframe)


class ClipFile:
    """An MP4 file of encoded frames, whose times begin at 0.

    Until `close` it consists of fragments, so that it plays while it is written and after a kill; `close` then makes an
    ordinary MP4 of it, with its index first.

    Raises: OutputError if it cannot be written, as do its methods.
    """

    def __init__(self, path: Path, *, frame_hw: tuple[int, int], fps: float) -> None:
        self.path = path
        self._hw = frame_hw
        self._fps = fps
        self._waiting: EncodedFrame | None = None
        self._first_s = 0.0
        self._output: Any = None
        self._stream: Any = None
        self._guarded(lambda: self._open(path, _FRAGMENTED))

    def write(self, frame: EncodedFrame) -> None:
        """Append a frame; the first must be a key frame."""
        before, self._waiting = self._waiting, frame
        if before is None:
            self._first_s = frame.time_s
        else:
            self._guarded(lambda: self._mux(before, frame.time_s - before.time_s))

    def close(self) -> None:
        """Write the last frame and the index."""
        last = self._waiting
        if last is not None:
            self._guarded(lambda: self._mux(last, min(1 / self._fps, LONGEST_LAST_S)))
        self._guarded(self._output.close)
        self._guarded(lambda: _with_index_first(self.path))

    def _open(self, path: Path, options: dict[str, str]) -> None:
        self._output = _av().open(str(path.absolute()), "w", format="mp4", options=options)
        rate = Fraction(self._fps).limit_denominator(1000)
        height, width = self._hw
        self._stream = self._output.add_mux_stream("h264", rate=rate, width=width, height=height, time_base=_CLOCK)

    def _mux(self, frame: EncodedFrame, duration_s: float) -> None:
        packet = _av().Packet(frame.content)
        packet.pts = packet.dts = round((frame.time_s - self._first_s) / _CLOCK)
        packet.duration = max(round(duration_s / _CLOCK), 1)
        packet.time_base, packet.stream, packet.is_keyframe = _CLOCK, self._stream, frame.key
        self._output.mux(packet)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:  # also all errors of FFmpeg
            reason = error.strerror or str(error)
            raise OutputError(f"{self.path}: cannot be written ({reason}); {what_to_do(error)}") from error


def _with_index_first(path: Path) -> None:
    """Replace fragments by one ordinary MP4, by copying the encoded frames."""
    av = _av()
    whole = temporary_file(path)
    try:
        with (
            av.open(str(path.absolute())) as source,
            av.open(str(whole.absolute()), "w", format="mp4", options={"movflags": "faststart"}) as output,
        ):
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        whole.replace(path)
    finally:
        remove(whole)


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"recordings need {error.name}: pip install 'mmpnet[record]'") from error
    return av
