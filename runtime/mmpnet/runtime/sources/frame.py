"""A frame with its time and source, and the interface of a source."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import well_formed

Kind = Literal["image", "video", "camera"]
State: TypeAlias = Literal["connecting", "live", "stale", "reconnecting", "closed"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame (H, W, 3) BGR uint8, where it comes from and when it was grabbed."""

    pixels_bgr: UInt8Array
    source: str
    kind: Kind
    fps: float
    """The rate that the source states, or one to assume; of use for saved videos only."""
    captured_at: datetime
    captured_s: float
    """time.perf_counter() at the grab, for ages that no clock change can spoil; set back by how long the frame waited
    before it, where the source lets us know."""
    index: int = 0
    """Where it stands in its own source, from 0: a video's frame number, with those that were passed over."""
    grab_ms: float = 0.0
    """Reading and decoding; a camera's wait for its next frame is not in it."""
    frozen: bool = False
    """Whether a live source has been giving this very image for too long."""
    stream: int = 0
    """Which source of the run it comes from."""
    damaged: int = 0
    """Of a live source: how many frames before it, since the last good one, could not be decoded."""
    skipped: int = 0
    """Of a live source: how many frames before it were not decoded, as newer ones had come."""

    def age_ms(self) -> float:
        """Milliseconds since the capture."""
        return (time.perf_counter() - self.captured_s) * 1e3


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a live source: a new state, or a notice about what it delivers.

    Its texts can be encoded, whatever the names of files and devices in them are.
    """

    source: str
    kind: State | Literal["notice"]
    at: datetime
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", well_formed(self.source))
        object.__setattr__(self, "reason", well_formed(self.reason))


OnEvent: TypeAlias = Callable[[Event], None]


class Source(Protocol):
    """Frames in order; iterating raises SourceError when the source fails rather than ends."""

    @property
    def name(self) -> str:
        """What people call it; never a password."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""

    @property
    def many_files(self) -> bool:
        """Whether results belong to several files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files the frames come from; none for a camera."""

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """The frames as they come, until `stop` is set; what happens on the way is told."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames for a reader that takes its time: every one of a file, the newest of a live source."""


def stamp_frame(
    pixels_bgr: UInt8Array,
    *,
    source: str,
    kind: Kind,
    fps: float,
    started_s: float | None = None,
    delay_s: float = 0.0,
    index: int = 0,
) -> Frame:
    """A frame that was grabbed at `started_s` on time.perf_counter() or, without it, just now, after it had waited for
    `delay_s` somewhere."""
    now_s = time.perf_counter()
    grabbed_s = now_s if started_s is None else started_s
    captured_s = grabbed_s - delay_s
    return Frame(
        pixels_bgr=pixels_bgr,
        source=well_formed(source),
        kind=kind,
        fps=fps,
        captured_at=datetime.now(UTC) - timedelta(seconds=now_s - captured_s),
        captured_s=captured_s,
        index=index,
        grab_ms=(now_s - grabbed_s) * 1e3,
    )
