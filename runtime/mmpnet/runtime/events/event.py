"""An event of a camera: somebody appeared, left, crossed a line, or the camera itself stopped and came back."""

import uuid
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from mmpnet.runtime.analytics.tracks import Direction

EventKind: TypeAlias = Literal["appeared", "gone", "entered", "left", "crossed", "stale", "back"]
EVENT_KINDS: tuple[EventKind, ...] = ("appeared", "gone", "entered", "left", "crossed", "stale", "back")


class CameraEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"class_name": "class"}):
    """One event, as it is stored, written as NDJSON and sent. Fields without a value are left out of the JSON.

    `at` is the time of day in UTC when it happened: for `appeared` the first sight, for `gone` the last one.
    """

    id: str
    """Unique over all runs. What is sent a second time has the same id."""
    event: EventKind
    camera: str
    stream: int
    """Index of the camera in its run."""
    at: datetime
    source_time_s: float | None = None
    """Position in its source: seconds since the first frame."""
    track: int | None = None
    """Number of the person in its run and camera."""
    class_name: str | None = None
    line: str | None = None
    zone: str | None = None
    direction: Direction | None = None
    """Of `crossed`, `entered` and `left`."""
    zones: tuple[str, ...] = ()
    """Of `appeared` and `gone`: the zones that the person is in."""
    duration_s: float | None = None
    """Of `gone`: how long the person was seen; of `left`: how long in the zone; of `back`: how long away."""
    score: float | None = None
    """Best score of the track so far."""
    box: tuple[float, float, float, float] | None = None
    """The person in the snapshot: x1, y1, x2, y2 as fractions of the width and height."""
    snapshot: bool = False
    """Whether there is a snapshot: the best image of the person so far."""
    reason: str | None = None
    """Of `stale`: why."""


def new_id() -> str:
    """An id that no other event has."""
    return uuid.uuid4().hex


def encode_event(event: CameraEvent) -> bytes:
    """The event as one JSON object, without a newline."""
    return _ENCODER.encode(event)


def decode_event(line: bytes) -> CameraEvent:
    """Read what encode_event wrote. Raises: msgspec.DecodeError for anything else."""
    return _DECODER.decode(line)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(CameraEvent)
