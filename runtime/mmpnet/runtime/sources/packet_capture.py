"""Streams whose packets OpenCV reads and PyAV decodes, as PyAV tells which frames could not be decoded.

OpenCV reports success for a frame that it did not convert, and for one that FFmpeg filled from the frame before.
"""

from copy import copy
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.second_decoder import second_decoder_works
from mmpnet.runtime.sources.freeze import LastImage
from mmpnet.runtime.sources.video_capture import fourcc

_CODECS = {
    **dict.fromkeys(("h264", "avc1"), "h264"),
    **dict.fromkeys(("hevc", "hev1", "hvc1"), "hevc"),
    **dict.fromkeys(("mpg1", "mpg2"), "mpeg2video"),
    "mjpg": "mjpeg",
    "vp80": "vp8",
    "vp90": "vp9",
}
"""PyAV's decoder for each FourCC of OpenCV. MPEG-4 Part 2 is none of them: its decoder needs more than the packets."""
_MICROSECONDS = Fraction(1, 1_000_000)
_MOST_WAITING = 16
"""No decoder holds back more frames; further packets without a frame were not decoded."""


class PacketCapture:
    """Replaces the cv2.VideoCapture of a stream. `retrieve` is False for a frame that was not decoded.

    Such frames are those at which the decoder fails, those that it reports as corrupt, as it filled parts of them from
    the frame before, and until the next key frame also those that are equal to the frame before or to the last one
    before the damage.
    """

    def __init__(self, capture: Any, codec: str) -> None:
        """Take over an opened capture that was not read yet and was set to CAP_PROP_FORMAT -1 (packets)."""
        import av

        self._av = av
        self._capture = capture
        _, headers = capture.retrieve(flag=int(capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)))
        self._headers = b"" if headers is None else np.asarray(headers, np.uint8).tobytes()
        self._decoder: Any = av.CodecContext.create(codec, "r")
        self._decoder.thread_count = 1  # each further one delays every frame by one frame
        self._is_file = capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        self._ready: list[tuple[Any, bool]] = []
        """Frames that were not grabbed yet, None for one that was not decoded, and whether it may repeat another."""
        self._grabbed: tuple[Any, bool] = (None, False)
        self._began = self._flushed = self._doubtful = False
        self._waiting: list[int] = []
        """Presentation times of packets without a frame, in µs."""
        self._without_frame = 0
        self._position_ms = 0.0
        self._last, self._last_sure = LastImage(), LastImage()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Always True, as in OpenCV before release."""
        return True

    def get(self, prop: int) -> float:
        """A property; CAP_PROP_POS_MSEC is the presentation time of the grabbed frame, 0 if it has none."""
        return self._position_ms if prop == cv2.CAP_PROP_POS_MSEC else float(self._capture.get(prop))

    def set(self, prop: int, value: float) -> bool:
        """Returns False, as a stream has no modes."""
        del prop, value
        return False

    def grab(self) -> bool:
        """Decode the next frame; False at the end of the stream, and for each packet before the first frame."""
        while not self._ready:
            if not self._capture.grab():
                if not self._is_file or self._flushed:
                    return False
                self._flushed = True
                self._decode(None)
                if not self._ready:
                    return False
            elif not self._read() and not self._began:
                return False
        self._began = True
        self._grabbed = self._ready.pop(0)
        frame, _ = self._grabbed
        if frame is not None:
            self._position_ms = 0.0 if frame.pts is None else frame.pts / 1e3
        return True

    def retrieve(self) -> tuple[bool, UInt8Array | None]:
        """The grabbed frame (H, W, 3) BGR; False if it was not decoded."""
        frame, may_repeat = self._grabbed
        if frame is None:
            return False, None
        try:
            pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        except (OSError, ValueError):  # av's errors; this format of pixels cannot be converted
            return False, None
        is_repeated = self._last.is_repeated_by(pixels) or self._last_sure.equals(pixels)
        if not may_repeat:
            is_repeated, self._last_sure = False, copy(self._last)
        return not is_repeated, None if is_repeated else pixels

    def release(self) -> None:
        """Close the stream."""
        self._capture.release()

    def _read(self) -> bool:
        """Decode the packet that OpenCV has grabbed. Returns whether it gave a frame, or should have given one."""
        delivered, content = self._capture.retrieve()
        if not delivered or content is None:
            return False
        coded = np.asarray(content, np.uint8).tobytes()
        self._set_headers(coded)
        packet = self._av.Packet(coded)
        time_us = round(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) * 1e3)
        packet.time_base = _MICROSECONDS
        packet.pts = time_us if time_us > 0 else None
        if time_us > 0:
            self._waiting.append(time_us)
        return self._decode(packet)

    def _set_headers(self, coded: bytes) -> None:
        """Hand the headers of the stream to the decoder, before its first packet.

        From MP4 and FLV, OpenCV makes packets with start codes, which hold the headers; the stream's own would tell the
        decoder to expect lengths.
        """
        headers, self._headers = self._headers, b""
        if headers and not (headers.startswith(b"\1") and coded.startswith(b"\0\0\0\1")):
            self._decoder.extradata = headers

    def _decode(self, packet: Any) -> bool:
        """Returns whether there is a further frame, or one that was not decoded."""
        try:
            frames = self._decoder.decode(packet)
        except (OSError, ValueError):  # av's errors
            self._lose_packet(packet)
            return self._began
        self._without_frame = 0 if frames else self._without_frame + 1
        if self._without_frame > _MOST_WAITING:
            self._lose_packet(packet)
        for frame in frames:
            self._lose(self._overtaken_by(frame))
            if frame.is_corrupt:
                self._lose(1)
                continue
            self._doubtful = self._doubtful and not frame.key_frame
            self._ready.append((frame, self._doubtful))
        return bool(self._ready)

    def _lose_packet(self, packet: Any) -> None:
        self._lose(1)
        if packet is not None:
            self._waiting = [time_us for time_us in self._waiting if time_us != packet.pts]

    def _lose(self, count: int) -> None:
        """Note frames that were not decoded; before the first frame nothing is lost, as decoding starts at a key
        frame."""
        if self._began and count:
            self._doubtful = True
            self._ready += [(None, False)] * count

    def _overtaken_by(self, frame: Any) -> int:
        """Number of packets whose frames should have come before this one.

        Of an interlaced frame, each field may be a packet, and in an AVI file, B-frames have no times of their own.
        """
        if frame.pts is None:
            return 0
        overtaken = sum(time_us < frame.pts for time_us in self._waiting)
        self._waiting = [time_us for time_us in self._waiting if time_us > frame.pts]
        return 0 if frame.interlaced_frame or self._is_file else overtaken


def decoded_by_pyav(capture: Any) -> Any:
    """Wrap an opened stream in a PacketCapture if PyAV works and knows its codec; return others unchanged."""
    codec = _CODECS.get(fourcc(capture).lower()) if capture.isOpened() else None
    if codec is None or capture.get(cv2.CAP_PROP_ORIENTATION_META) or not second_decoder_works():
        return capture
    return PacketCapture(capture, codec) if capture.set(cv2.CAP_PROP_FORMAT, -1) else capture
