"""Live sources: cameras and network streams, with states and reconnection."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2

from mmpnet.contract.errors import SourceError
from mmpnet.media.decoder_check import decoder_fault
from mmpnet.media.images import is_image
from mmpnet.runtime.sources.cameras import why_no_camera
from mmpnet.runtime.sources.frame import Event, Frame, OnEvent, State, stamp_frame
from mmpnet.runtime.sources.frame_grabber import newest_frames
from mmpnet.runtime.sources.freeze import FirstChange, FrozenFrameDetector, LastImage
from mmpnet.runtime.sources.mjpeg import MjpegCapture, without_queue
from mmpnet.runtime.sources.options import DEFAULT_LIVE_OPTIONS, LiveOptions
from mmpnet.runtime.sources.packet_capture import decoded_by_pyav
from mmpnet.runtime.sources.redact import without_password
from mmpnet.runtime.sources.square_pixels import SquarePixels
from mmpnet.runtime.sources.stream_clock import ArrivalClock
from mmpnet.runtime.sources.stream_probe import accepts_connections, why_no_stream
from mmpnet.runtime.sources.video_capture import (
    DAMAGED_S,
    as_bgr,
    fourcc,
    grab,
    open_camera,
    open_stream,
    stated_fps,
)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 5.0
"""A source counts as recovered after frames for this long; if it fails sooner, the next wait is longer."""
RATE_FRAMES = 30
"""Number of frames after which a camera's actual rate is known."""
LEAST_OF_A_FILE = 0.5
"""A file behind an address has ended after this fraction of its frames, whose number is only estimated: the sound may
be longer, and the times may not begin at 0. With fewer, its connection was lost."""
RETRY_S = 0.05
"""Time between two attempts to get a stream's first frame."""
EQUAL_FRAMES = 50
"""Number of equal first images of a stream after which a notice is given, with an OpenCV that fails its self-test."""
OR_PYAV = "or install PyAV: pip install 'mmpnet[record]'"
SLOW = 0.8
"""A notice is given for a camera with less than this fraction of the requested frame rate."""

Connect: TypeAlias = Callable[[], Any]
"""Opens a capture like cv2.VideoCapture, which may fail to open."""


class _SilentError(SourceError):
    """Nothing came before the timeout."""


@dataclass(slots=True)
class _SoFar:
    """State that the connections of one source share."""

    watch: FrozenFrameDetector
    count: int = 0
    first_s: float | None = None
    """Capture time of the first frame, on time.perf_counter()."""
    damage_told: bool = False
    clock_told: bool = False


@dataclass(slots=True)
class LiveSource:
    """A camera or stream. `stride` n skips all but every n-th frame; skipped frames are not decoded if possible.

    `clocked`: its CAP_PROP_POS_MSEC is the sender's clock. `may_end`: its address may be that of a file. `still_image`:
    its address has the suffix of an image. `is_stream`: it comes over a network. `connect_patiently`: opens a capture
    with longer timeouts, for a stream that `answers` but gives no frame in time.
    """

    name: str
    connect: Connect
    options: LiveOptions = DEFAULT_LIVE_OPTIONS
    stride: int = 1
    why_unopened: Callable[[], str] = lambda: "check the address, and that this machine can reach it"
    is_stream: bool = False
    connect_patiently: Connect | None = None
    answers: Callable[[], bool] = lambda: True
    clocked: bool = False
    may_end: bool = False
    still_image: bool = False
    live: bool = field(default=True, init=False)
    many_files: bool = field(default=False, init=False)
    paths: tuple[Path, ...] = field(default=(), init=False)

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame on each request, read in a separate thread.

        Raises: SourceError if the source fails and is not to be reopened.
        """
        return newest_frames(self)

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """Every frame as it comes, across reconnections.

        Raises: SourceError if the source fails and is not to be reopened.
        """
        again, wait_s = bool(self.options.reconnect), FIRST_WAIT_S
        so_far = _SoFar(FrozenFrameDetector(self.options.stale_after_s))
        on_event(self._event("connecting"))
        while not stop.is_set():
            first_s = None
            try:
                for frame in self._connected(stop, on_event, so_far):
                    now_s = time.perf_counter()
                    first_s = first_s or now_s
                    if now_s - first_s >= STEADY_S:
                        wait_s = FIRST_WAIT_S
                    again = again or self.options.reconnect is None
                    yield frame
            except SourceError as error:
                if not again:
                    raise
                on_event(self._event("reconnecting", f"{error}; trying again in {wait_s:g} s"))
                stop.wait(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                return

    def _connected(self, stop: threading.Event, on_event: OnEvent, so_far: _SoFar) -> Iterator[Frame]:
        """Frames of one connection, until `stop` is set or a file ends. Raises: SourceError if it is lost."""
        try:
            yield from self._connected_by(self.connect, stop, on_event, so_far)
        except _SilentError:
            # FFmpeg's timeouts cannot be changed later, so only a stream that needs it gets a long one.
            if self.connect_patiently is None or not self.answers():
                raise
            yield from self._connected_by(self.connect_patiently, stop, on_event, so_far)

    def _connected_by(
        self, connect: Connect, stop: threading.Event, on_event: OnEvent, so_far: _SoFar
    ) -> Iterator[Frame]:
        asked_s = time.perf_counter()
        capture = connect()
        try:
            if not capture.isOpened():
                is_silent = time.perf_counter() - asked_s > DAMAGED_S
                reason = f"{self.name}: cannot be opened; {self.why_unopened()}"
                raise _SilentError(reason) if is_silent else SourceError(reason)
            self._ask(capture, on_event)
            frames = self._read(capture, stop, on_event, so_far)
            yield from frames if not _needs_proof(capture) else self._decoded(frames, on_event)
        finally:
            capture.release()

    def _read(self, capture: Any, stop: threading.Event, on_event: OnEvent, so_far: _SoFar) -> Iterator[Frame]:
        fps, before, grabbed, began_s = stated_fps(capture), so_far.count, 0, 0.0
        arrivals = ArrivalClock(fps, holds_one_back=_holds_one_back(capture)) if self.clocked else None
        skipped = 0
        square = SquarePixels(capture)
        while not stop.is_set():
            asked_s = time.perf_counter()
            passed_over = grab(capture) if grabbed else self._first_grab(capture, stop)
            now_s = time.perf_counter()
            if passed_over is None:
                self._end(capture, on_event, grabbed=grabbed, before=before, waited_s=now_s - asked_s)
                return
            grabbed += 1
            began_s = began_s or now_s
            if grabbed == RATE_FRAMES + 1:
                self._compare_rate(RATE_FRAMES / max(now_s - began_s, 1e-6), on_event)
            self._add_damaged(passed_over, on_event, so_far)
            delay_s = _waited_s(capture, arrivals, asked_s, now_s, in_order=not passed_over)
            self._report_clock(arrivals, on_event, so_far)
            if delay_s is None:
                skipped += 1
                continue
            if (grabbed - 1) % self.stride:
                continue
            delivered, pixels = capture.retrieve()
            if not delivered or pixels is None or not pixels.size:
                self._add_damaged(1, on_event, so_far)  # a source with only damaged frames becomes stale
                continue
            pixels_bgr = square.apply(as_bgr(pixels))
            if grabbed == 1 and (stretched := square.notice(pixels_bgr)) is not None:
                on_event(self._event("notice", f"{self.name}: {stretched}"))
            frozen = so_far.watch.is_frozen(pixels_bgr, now_s)
            frame = stamp_frame(
                pixels_bgr,
                source=self.name,
                kind="camera",
                fps=fps,
                started_s=now_s,
                delay_s=delay_s,
                index=so_far.count * self.stride,
            )
            so_far.count += 1
            skipped += capture.skipped() if isinstance(capture, MjpegCapture) else 0
            so_far.first_s = frame.captured_s if so_far.first_s is None else so_far.first_s
            time_s = max(frame.captured_s - so_far.first_s, 0.0)
            yield replace(frame, frozen=frozen, skipped=skipped, source_time_s=time_s)
            skipped = 0

    def _first_grab(self, capture: Any, stop: threading.Event) -> int | None:
        """Grab the first frame. Of a stream, OpenCV fails for each packet up to the next key frame, and cannot tell
        this from its end, so its failures are ignored for the time that the first frame may take, and not counted."""
        began_s = time.perf_counter()
        passed_over = grab(capture)
        while (
            passed_over is None
            and self.is_stream
            and time.perf_counter() - began_s < self.options.first_frame_s
            and not stop.wait(RETRY_S)
        ):
            passed_over = grab(capture)
        return 0 if self.is_stream and passed_over is not None else passed_over

    def _decoded(self, frames: Iterator[Frame], on_event: OnEvent) -> Iterator[Frame]:
        """The frames from the last one of the equal first ones on, and then those that differ from the one before;
        others are marked, as an OpenCV that fails its self-test may not have decoded them."""
        start, held, last, told = FirstChange(), None, LastImage(), False
        try:
            for frame in frames:
                start.look(frame.pixels_bgr)
                is_repeated = last.is_repeated_by(frame.pixels_bgr)
                if not start.changed:
                    if is_repeated:
                        yield replace(frame, repeated=True)
                    held = frame
                    if start.count == EQUAL_FRAMES:
                        reason = f"{self.name}: all frames are equal to the byte; {decoder_fault()}"
                        on_event(self._event("notice", f"{reason}; {OR_PYAV}"))
                    continue
                if held is not None:
                    yield held
                    held = None
                if is_repeated and not told:
                    told = True
                    reason = f"{self.name}: repeats frames, which are counted and not processed; {decoder_fault()}"
                    on_event(self._event("notice", f"{reason}; {OR_PYAV}"))
                yield replace(frame, repeated=is_repeated)
        finally:
            frames.close()  # type: ignore[attr-defined]
        if held is not None and start.count == 1:
            yield held

    def _end(self, capture: Any, on_event: OnEvent, *, grabbed: int, before: int, waited_s: float) -> None:
        """Handle the end of the frames. Raises: SourceError unless it is a file that has given all its frames."""
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT) if self.may_end else 0.0
        if self.still_image and grabbed == 1:  # for small images, FFmpeg does not state that there is only one
            stated = 1.0
        if not (stated > 0 and grabbed >= LEAST_OF_A_FILE * stated):
            count = before + grabbed // self.stride
            is_silent = not grabbed and waited_s > DAMAGED_S
            reason = f"{self.name}: no frame after {count}; {self._why_lost(grabbed, waited_s)}"
            raise _SilentError(reason) if is_silent else SourceError(reason)
        size = f"{grabbed} frames" if grabbed >= stated else f"{grabbed} frames, by its header of about {stated:.0f}"
        what = "one image, not a stream" if stated == 1 else f"a file of {size}, not a stream"
        advice = "use the address of the camera's stream, or download the file to process every frame"
        on_event(self._event("notice", f"{self.name}: has ended, as it is {what}; {advice}"))

    def _why_lost(self, grabbed: int, waited_s: float) -> str:
        """Why no further frame came in `waited_s`, and what to do."""
        if not self.is_stream:
            return "check its cable or network, and other programs that use it"
        if not grabbed:
            return self.why_unopened()
        if waited_s < DAMAGED_S:
            return "its server ended the connection; check the camera, and whether it has too many viewers"
        return (
            f"nothing for {waited_s:.0f} s; check its power and network, or give a longer --stale-after if it sends "
            "frames less often"
        )

    def _add_damaged(self, count: int, on_event: OnEvent, so_far: _SoFar) -> None:
        if count:
            on_event(Event(self.name, "damaged", datetime.now(timezone.utc), count=count))
        if count and not so_far.damage_told:
            so_far.damage_told = True
            advice = "check its cable or network"
            on_event(
                self._event("notice", f"{self.name}: sends damaged frames, which are skipped and counted; {advice}")
            )

    def _report_clock(self, arrivals: ArrivalClock | None, on_event: OnEvent, so_far: _SoFar) -> None:
        if arrivals is not None and arrivals.falls_behind and not so_far.clock_told:
            so_far.clock_told = True
            reason = "its clock falls behind steadily: it sends fewer frames than it states, or the network is too slow"
            on_event(self._event("notice", f"{self.name}: {reason}; ages no longer include the time in the network"))

    def _ask(self, capture: Any, on_event: OnEvent) -> None:
        """Set the mode, and report where the camera differs; the pixel format is set first, as sizes depend on it."""
        mode = self.options.mode
        if mode.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*mode.fourcc))
        asked = [(name, prop, getattr(mode, name)) for name, prop in _MODE_PROPS.items()]
        asked = [(name, prop, value) for name, prop, value in asked if value is not None]
        for _, prop, value in asked:
            capture.set(prop, value)
        given = [(name, value, capture.get(prop)) for name, prop, value in asked]
        missed = [f"{name} {value:g}, is {actual:g}" for name, value, actual in given if abs(actual - value) > 0.5]
        if mode.fourcc is not None and (given_fourcc := fourcc(capture)) != mode.fourcc:
            missed.append(f"fourcc {mode.fourcc}, is {given_fourcc or 'unknown'}")
        if missed:
            on_event(self._event("notice", f"{self.name}: requested {'; '.join(missed)}"))

    def _compare_rate(self, measured_fps: float, on_event: OnEvent) -> None:
        asked_fps = self.options.mode.fps
        if asked_fps is not None and measured_fps < SLOW * asked_fps:
            found = f"requested {asked_fps:g} fps, delivers {measured_fps:.1f}"
            advice = "more light, --fourcc MJPG or a smaller size may help"
            on_event(self._event("notice", f"{self.name}: {found}; {advice}"))

    def _event(self, kind: State | Literal["notice"], reason: str = "") -> Event:
        return Event(self.name, kind, datetime.now(timezone.utc), reason)


_SPLIT_BY_THE_NEXT = {"h264", "avc1", "hevc", "hev1", "hvc1"}
_MODE_PROPS = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}


def camera_source(device: int | str, options: LiveOptions = DEFAULT_LIVE_OPTIONS, *, stride: int = 1) -> LiveSource:
    """A camera, by OpenCV's index or by its device path."""
    name = f"camera {device}" if isinstance(device, int) else device
    return LiveSource(
        name, lambda: open_camera(device), options, stride=stride, why_unopened=lambda: why_no_camera(device)
    )


def stream_source(url: str, options: LiveOptions = DEFAULT_LIVE_OPTIONS, *, stride: int = 1) -> LiveSource:
    """An RTSP, HTTP or other stream that FFmpeg opens. Its name has no password."""
    name, (scheme, separator, rest) = without_password(url), url.partition("://")
    url = scheme.lower() + separator + rest  # FFmpeg does not know RTSP://
    # FFmpeg numbers the frames of HTTP MJPEG as if they came at 25 per second; RTSP senders state the time.
    clocked = url.startswith("rtsp")

    def connect(timeout_s: float) -> Any:
        capture = open_stream(url, timeout_s=timeout_s)
        return decoded_by_pyav(capture if clocked else without_queue(capture))

    patience_s = max(options.first_frame_s, options.stale_after_s)
    return LiveSource(
        name,
        lambda: connect(options.stale_after_s),
        options,
        stride=stride,
        why_unopened=lambda: why_no_stream(url),
        is_stream=True,
        connect_patiently=lambda: connect(patience_s),
        answers=lambda: accepts_connections(url),
        clocked=clocked,
        may_end=url.startswith("http"),
        still_image=is_image(re.split(r"[?#]", url)[0]),
    )


def _needs_proof(capture: Any) -> bool:
    """Whether OpenCV itself decodes the frames, and fails its self-test."""
    backend = getattr(capture, "getBackendName", None)
    return backend is not None and backend() == "FFMPEG" and decoder_fault() is not None


def _waited_s(
    capture: Any, arrivals: ArrivalClock | None, asked_s: float, now_s: float, *, in_order: bool
) -> float | None:
    """How long the grabbed frame had waited on this machine, as far as it can be known; None if it is an old one from
    the buffer of the opening."""
    if isinstance(capture, MjpegCapture):  # it records the arrival time on this clock
        return now_s - float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
    if arrivals is None:
        return 0.0
    return arrivals.seconds(capture.get(cv2.CAP_PROP_POS_MSEC), asked_s, now_s, in_order=in_order)


def _holds_one_back(capture: Any) -> bool:
    """Whether FFmpeg splits the stream into frames by the start of the next one, as for H.264 and H.265."""
    return fourcc(capture).lower() in _SPLIT_BY_THE_NEXT
