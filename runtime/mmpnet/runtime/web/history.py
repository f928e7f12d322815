"""What the page tells about the past: counts of today, people over a day, and the last events with their clips."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from mmpnet.runtime.events.event import EventKind, encode_event
from mmpnet.runtime.events.reader import EventCount, EventReader
from mmpnet.runtime.events.store import StoredEvent
from mmpnet.runtime.recordings.names import began_at, clip_at

SHOWN_EVENTS, MOST_EVENTS = 30, 10_000
SHOWN_KINDS: tuple[EventKind, ...] = ("appeared", "crossed", "entered", "left", "stale", "back")
BUCKET_S = 900
DAY_S = 86_400
CLIP_SETTLE_S = 12.0
"""A clip is offered when it has certainly begun to be written."""
_PART = re.compile(r"[\w.+-]{1,200}")


@dataclass(frozen=True, slots=True)
class CameraDay:
    """The counts of one camera since midnight, local time; None where nothing counts it."""

    camera: str
    in_count: int | None
    out_count: int | None
    appeared: int
    people: tuple[int, ...]
    """People who appeared in each quarter of an hour of the last 24 hours, oldest first."""


@dataclass(frozen=True, slots=True)
class HistoryStatus:
    """Everything that the page shows about the past."""

    since: str
    """Local midnight, from which counts are, in ISO 8601."""
    until: str
    """Now, where the 24 hours end."""
    bucket_s: int
    cameras: tuple[CameraDay, ...]
    events: tuple[dict[str, Any], ...]


class History:
    """Reads the event store, and finds the clip of an event; threads may share it.

    recordings: the folder of --record. in_file_name: makes a part of a file name of a camera's name. now: the time.
    """

    def __init__(
        self,
        store: Path,
        *,
        recordings: Path | None,
        in_file_name: Callable[[str], str],
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._reader = EventReader(store)
        self._recordings = recordings
        self._in_file_name = in_file_name
        self._now = now

    def status(self, cameras: Sequence[str]) -> HistoryStatus:
        """The counts of these cameras, and the last events of all. Raises: sqlite3.Error."""
        now = self._now()
        midnight = local_midnight(now)
        counts = self._reader.counts(midnight)
        began = datetime.fromtimestamp(now.timestamp() // BUCKET_S * BUCKET_S, timezone.utc)
        began += timedelta(seconds=BUCKET_S - DAY_S)
        until = began + timedelta(seconds=DAY_S)
        return HistoryStatus(
            since=midnight.isoformat(),
            until=until.isoformat(),
            bucket_s=BUCKET_S,
            cameras=tuple(self._day(camera, counts, began, until) for camera in cameras),
            events=tuple(map(self._shown, self._reader.latest(SHOWN_EVENTS, kinds=SHOWN_KINDS))),
        )

    def ndjson(self, limit: int) -> bytes:
        """The last events, oldest first, one JSON object per line. Raises: sqlite3.Error."""
        latest = self._reader.latest(min(limit, MOST_EVENTS))
        return b"".join(encode_event(one.event) + b"\n" for one in reversed(latest))

    def snapshot(self, event_id: str) -> bytes | None:
        """The JPEG of an event. Raises: sqlite3.Error."""
        return self._reader.snapshot(event_id)

    def clip(self, camera: str, day: str, name: str) -> Path | None:
        """The clip with this name, if it is one."""
        parts = (camera, day, name)
        if self._recordings is None or not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
            return None
        path = self._recordings.joinpath(*parts)
        return path if began_at(path) is not None and path.suffix == ".mp4" and path.is_file() else None

    def _day(self, camera: str, counts: Sequence[EventCount], began: datetime, until: datetime) -> CameraDay:
        own = [one for one in counts if one.camera == camera]
        # Lines count who passes; where there are none, zones do.
        passed = [one for one in own if one.event == "crossed"] or [
            one for one in own if one.event in ("entered", "left")
        ]
        in_count, out_count = (
            sum(one.count for one in passed if one.direction == way) if passed else None for way in ("in", "out")
        )
        people = self._reader.histogram(began, until, bucket_s=BUCKET_S, camera=camera)
        appeared = sum(one.count for one in own if one.event == "appeared")
        return CameraDay(camera, in_count, out_count, appeared, tuple(people))

    def _shown(self, stored: StoredEvent) -> dict[str, Any]:
        event = stored.event
        return {
            "id": event.id,
            "event": event.event,
            "camera": event.camera,
            "at": event.at.isoformat(),
            "class": event.class_name,
            "track": event.track,
            "line": event.line,
            "zone": event.zone,
            "direction": event.direction,
            "duration_s": event.duration_s,
            "score": event.score,
            "reason": event.reason,
            "snapshot": event.snapshot,
            "box": event.box,
            "clip": self._clip_of(event.camera, event.at),
        }

    def _clip_of(self, camera: str, at: datetime) -> str | None:
        if self._recordings is None or (self._now() - at).total_seconds() < CLIP_SETTLE_S:
            return None
        path = clip_at(self._recordings, self._in_file_name(camera) or "camera", at)
        return None if path is None else "/".join(path.relative_to(self._recordings).parts)


def local_midnight(now: datetime) -> datetime:
    """The last midnight in the local time zone, whose day may have 23 or 25 hours."""
    local = time.localtime(now.timestamp())
    return datetime.fromtimestamp(
        time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1)), timezone.utc
    )
