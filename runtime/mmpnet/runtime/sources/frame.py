"""A frame with its time and source, and the interface of a source."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import well_formed

Kind = Literal["image", "video", "camera"]
State: TypeAlias = Literal["connecting", "live", "stale", "reconnecting", "closed"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame (H, W, 3) BGR uint8, with its source and its capture time."""

    pixels_bgr: UInt8Array
    source: str
    kind: Kind
    fps: float
    """The rate that the source states, or an assumed one; used only for saved videos."""
    captured_at: datetime
    captured_s: float
    """time.perf_counter() at the grab, so that clock changes do not affect ages; minus the time that the frame had
    waited before the grab, if the source tells it."""
    index: int = 0
    """Position in its source, from 0: a video's frame number, which also counts skipped frames."""
    source_time_s: float = 0.0
    """Presentation time in its source: seconds since a video's first frame by the times in the file, or since a live
    source's first frame of the run."""
    grab_ms: float = 0.0
    """Time to read and decode, without a camera's wait for its next frame."""
    frozen: bool = False
    """Whether a live source has repeated exactly this image for too long."""
    stream: int = 0
    """Index of its source in the run."""
    repeated: bool = False
    """For a live source: whether it is equal to the frame before and nobody knows whether it was decoded. It is counted
    and not processed."""
    skipped: int = 0
    """For a live source: number of frames before it that were not decoded, as newer ones had come."""

    @property
    def clock_s(self) -> float:
        """When it happened: for a file its time in the file, for a live source the time of its capture."""
        return self.captured_s if self.kind == "camera" else self.source_time_s

    def age_ms(self) -> float:
        """Milliseconds since the capture."""
        return (time.perf_counter() - self.captured_s) * 1e3


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a live source: a new state, a notice about its frames, or frames that could not be decoded.

    `source` is for people; `stream` is the index of the source in the run. Its texts can always be encoded, even if
    they contain names of files and devices that are not UTF-8.
    """

    source: str
    kind: State | Literal["notice", "damaged"]
    at: datetime
    reason: str = ""
    stream: int = 0
    count: int = 0
    """Number of damaged frames."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", well_formed(self.source))
        object.__setattr__(self, "reason", well_formed(self.reason))


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names as UTF-8 text; the second of equal names becomes `NAME (2)`."""
    distinct: list[str] = []
    for name in map(well_formed, names):
        number, unique = 1, name
        while unique in distinct:
            number += 1
            unique = f"{name} ({number})"
        distinct.append(unique)
    return distinct


OnEvent: TypeAlias = Callable[[Event], None]


class Source(Protocol):
    """Frames in order; iterating raises SourceError if the source fails."""

    @property
    def name(self) -> str:
        """Its name for messages, without passwords."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own rate."""

    @property
    def many_files(self) -> bool:
        """Whether the results belong to several files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the frames; empty for a camera."""

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        """The frames as they come, until `stop` is set; events are reported to `on_event`."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames for a slow reader: every frame of a file, the newest frame of a live source."""


def stamp_frame(
    pixels_bgr: UInt8Array,
    *,
    source: str,
    kind: Kind,
    fps: float,
    started_s: float | None = None,
    delay_s: float = 0.0,
    index: int = 0,
    source_time_s: float = 0.0,
) -> Frame:
    """Make a frame that was grabbed at `started_s` on time.perf_counter(), by default now, after a delay of `delay_s`
    between capture and grab."""
    now_s = time.perf_counter()
    grabbed_s = now_s if started_s is None else started_s
    captured_s = grabbed_s - delay_s
    return Frame(
        pixels_bgr=pixels_bgr,
        source=well_formed(source),
        kind=kind,
        fps=fps,
        captured_at=datetime.now(timezone.utc) - timedelta(seconds=now_s - captured_s),
        captured_s=captured_s,
        index=index,
        source_time_s=source_time_s,
        grab_ms=(now_s - grabbed_s) * 1e3,
    )
