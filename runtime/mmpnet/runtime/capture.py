"""Live sources: cameras and network streams, which say when they are gone and come back when they can."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.runtime.cameras import why_no_camera
from mmpnet.runtime.exchange import newest_frames
from mmpnet.runtime.frames import Event, Frame, State, Tell, stamped

FALLBACK_FPS = 25.0
"""For a source that states no frame rate; used only as the rate of a saved video."""
STALE_AFTER_S = 5.0
OPEN_TIMEOUT_MS = READ_TIMEOUT_MS = 5_000
"""FFmpeg waits 30 s by itself: too long for a camera that nobody watches."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
DAMAGED_IN_A_ROW, DAMAGED_S = 10, 1.0
"""So many failures at once, or one that takes so long, are no damaged frames but the end."""
RATE_FRAMES = 30
"""Frames after which a camera's real rate is known."""
SLOW = 0.8
"""A camera that delivers less than this share of the rate it was asked for is spoken of."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/{1,3}", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"([\w-]*(?:pass|pwd|token|key|secret|auth|sid)[\w-]*=)[^&/#?;\s]*", re.IGNORECASE)

Connect: TypeAlias = Callable[[], Any]
"""Opens a capture as cv2.VideoCapture gives it; it may be one that is not opened."""


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What to ask a camera for; None leaves a value to the camera. fourcc is its pixel format, such as MJPG."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None

    def __post_init__(self) -> None:
        if self.fourcc is not None and not re.fullmatch(r"[ -~]{4}", self.fourcc):
            raise ValueError(f"fourcc is {self.fourcc!r}; expected four characters, such as MJPG or YUYV")


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to treat a camera or stream.

    `reconnect` False: a source that fails is an error. True: it is opened again and again, waiting 0.5 s, then twice as
    long each time up to 30 s. None: so too, but only once it has given a frame, as the first failure may be a typo.
    """

    mode: CameraMode = CameraMode()
    reconnect: bool | None = None
    stale_after_s: float = STALE_AFTER_S


AS_IT_COMES = LiveOptions()


class FreezeWatch:
    """Notices a source that gives one picture again and again: pixel for pixel, which no sensor does."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._last: UInt8Array | None = None
        self._since_s = 0.0

    def is_frozen(self, pixels_bgr: UInt8Array, now_s: float) -> bool:
        """Whether this picture (H, W, 3) has been there for as long as the watch allows."""
        last, self._last = self._last, pixels_bgr
        if last is None or last.shape != pixels_bgr.shape or not _equal(last, pixels_bgr):
            self._since_s = now_s
        return now_s - self._since_s >= self._after_s


@dataclass(slots=True)
class LiveSource:
    """A camera or stream. `stride` n passes on every n-th frame; the others are not decoded where the source allows."""

    name: str
    connect: Connect
    options: LiveOptions = AS_IT_COMES
    stride: int = 1
    why_unopened: Callable[[], str] = lambda: "check the address, and that this machine reaches it"
    live: bool = field(default=True, init=False)
    many_files: bool = field(default=False, init=False)
    paths: tuple[Path, ...] = field(default=(), init=False)

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame whenever one is asked for, read in a thread of its own.

        Raises: SourceError where the source fails and is not to be opened again.
        """
        return newest_frames(self)

    def frames(self, stop: threading.Event, tell: Tell) -> Iterator[Frame]:
        """Every frame as it comes, across reconnections.

        Raises: SourceError where the source fails and is not to be opened again.
        """
        again, wait_s, count = bool(self.options.reconnect), FIRST_WAIT_S, 0
        tell(self._event("connecting"))
        while not stop.is_set():
            try:
                for frame in self._connected(stop, tell, before=count):
                    count, wait_s = count + 1, FIRST_WAIT_S
                    again = again or self.options.reconnect is None
                    yield frame
            except SourceError as error:
                if not again:
                    raise
                tell(self._event("reconnecting", f"{error}; trying again in {wait_s:g} s"))
                stop.wait(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _connected(self, stop: threading.Event, tell: Tell, *, before: int) -> Iterator[Frame]:
        """One connection's frames. Raises: SourceError when there are no more."""
        capture = self.connect()
        try:
            if not capture.isOpened():
                raise SourceError(f"{self.name}: cannot be opened; {self.why_unopened()}")
            self._ask(capture, tell)
            yield from self._read(capture, stop, tell, before)
        finally:
            capture.release()

    def _read(self, capture: Any, stop: threading.Event, tell: Tell, before: int) -> Iterator[Frame]:
        fps = stated_fps(capture)
        watch = FreezeWatch(self.options.stale_after_s)
        grabbed, began_s = 0, 0.0
        while not stop.is_set():
            if grab(capture) is None:
                raise SourceError(
                    f"{self.name}: no frame after {before + grabbed // self.stride}; "
                    "check its cable or network and who else uses it"
                )
            now_s = time.perf_counter()
            grabbed += 1
            began_s = began_s or now_s
            if grabbed == RATE_FRAMES + 1:
                self._compare_rate(RATE_FRAMES / max(now_s - began_s, 1e-6), tell)
            if (grabbed - 1) % self.stride:
                continue
            delivered, pixels = capture.retrieve()
            if not delivered or pixels is None or not pixels.size:
                continue  # a damaged frame; a source that gives nothing else turns stale
            pixels_bgr = as_bgr(pixels)
            frozen = watch.is_frozen(pixels_bgr, now_s)
            yield stamped(pixels_bgr, source=self.name, kind="camera", fps=fps, started_s=now_s, frozen=frozen)

    def _ask(self, capture: Any, tell: Tell) -> None:
        """Set the mode and say where the camera has another; the format comes first, as sizes depend on it."""
        mode = self.options.mode
        if mode.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*mode.fourcc))
        asked = [(name, prop, getattr(mode, name)) for name, prop in _MODE_PROPS.items()]
        asked = [(name, prop, value) for name, prop, value in asked if value is not None]
        for _, prop, value in asked:
            capture.set(prop, value)
        given = [(name, value, capture.get(prop)) for name, prop, value in asked]
        missed = [f"{name} {value:g}, is {actual:g}" for name, value, actual in given if abs(actual - value) > 0.5]
        if mode.fourcc is not None and (given_fourcc := _fourcc(capture)) != mode.fourcc:
            missed.append(f"fourcc {mode.fourcc}, is {given_fourcc or 'unknown'}")
        if missed:
            tell(self._event("notice", f"{self.name}: asked for {'; '.join(missed)}"))

    def _compare_rate(self, measured_fps: float, tell: Tell) -> None:
        asked_fps = self.options.mode.fps
        if asked_fps is not None and measured_fps < SLOW * asked_fps:
            found = f"asked for {asked_fps:g} fps, delivers {measured_fps:.1f}"
            advice = "more light, --fourcc MJPG or a smaller size may help"
            tell(self._event("notice", f"{self.name}: {found}; {advice}"))

    def _event(self, kind: State | Literal["notice"], reason: str = "") -> Event:
        return Event(self.name, kind, datetime.now(UTC), reason)


_MODE_PROPS = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}


def camera_source(device: int | str, options: LiveOptions = AS_IT_COMES, *, stride: int = 1) -> LiveSource:
    """A camera by OpenCV's index or its device path."""
    name = f"camera {device}" if isinstance(device, int) else device
    return LiveSource(
        name, lambda: cv2.VideoCapture(device), options, stride=stride, why_unopened=lambda: why_no_camera(device)
    )


def stream_source(url: str, options: LiveOptions = AS_IT_COMES, *, stride: int = 1) -> LiveSource:
    """An RTSP, HTTP or other stream that FFmpeg opens. The name shows no password."""
    waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    return LiveSource(
        without_password(url), lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG, waits), options, stride=stride
    )


def without_password(address: str) -> str:
    """The address as people may see it: the login, and values that are called a password, key or token, starred out."""
    scheme = _SCHEME.match(address)
    if scheme is not None:
        host, login, path = _split_host(address[scheme.end() :])
        address = f"{scheme[0]}{'***@' if login else ''}{host}{path}"
    return _SECRET_VALUE.sub(r"\1***", address)


def _split_host(rest: str) -> tuple[str, bool, str]:
    """What follows `//` -> host and port, whether a login stood before them, and the path."""
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    host, path = rest[:end], rest[end:]
    # A slash in a password: what looks like host and port then has no number for a port.
    if "@" not in host and "@" in path and ":" in host and not host.rpartition(":")[2].isdecimal():
        host, path = rest.rpartition("@")[0] + "@", rest.rpartition("@")[2]
        end = min((path.find(mark) for mark in "/?#" if mark in path), default=len(path))
        host, path = host + path[:end], path[end:]
    return host.rpartition("@")[2], "@" in host, path


def stated_fps(capture: Any) -> float:
    """The rate that an open capture states, or one to assume."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps < 1000 else FALLBACK_FPS


def as_bgr(pixels: Any) -> UInt8Array:
    """(H, W, 3) BGR uint8 of what a capture gives: a thermal or infrared camera's frames may be grey or of 16 bits."""
    image = np.asarray(pixels)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return np.asarray(image, np.uint8)


def grab(capture: Any) -> int | None:
    """Grab the next frame, past damaged ones: FFmpeg's grab fails at each, and goes on behind it.

    Returns how many were passed over; None where there are no more frames.
    """
    until_s = time.perf_counter() + DAMAGED_S
    for damaged in range(DAMAGED_IN_A_ROW):
        if capture.grab():
            return damaged
        if time.perf_counter() > until_s:
            return None
    return None


def _equal(first: UInt8Array, second: UInt8Array) -> bool:
    # A few pixels tell most frames apart; the rest is compared only where these are equal.
    return np.array_equal(first[::32, ::32], second[::32, ::32]) and np.array_equal(first, second)


def _fourcc(capture: Any) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes((code >> 8 * i) & 0xFF for i in range(4))
    return letters.decode("ascii", "replace").strip("\0 ") if code > 0 else ""
