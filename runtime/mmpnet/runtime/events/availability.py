"""Turn the states of one live camera into the events `stale` and `back`."""

from datetime import datetime

from mmpnet.runtime.events.event import CameraEvent, new_id
from mmpnet.runtime.sources.frame import Event


class AvailabilityEvents:
    """Makes the events of one camera: `stale` when it has given no new image for too long, `back` when it does again.

    A connection that is lost and found again within `stale_after_s` makes no event.
    """

    def __init__(self, camera: str, stream: int, *, stale_after_s: float, now_s: float) -> None:
        self.camera = camera
        self.stream = stream
        self._stale_after_s = stale_after_s
        self._away_since_s: float | None = now_s
        self._stale_since_s: float | None = None
        self._reason = "no image yet"

    @property
    def available(self) -> bool:
        """Whether the camera gives new images."""
        return self._away_since_s is None and self._stale_since_s is None

    def happened(self, event: Event, now_s: float) -> list[CameraEvent]:
        """The events that follow from a state of the camera; now_s: time.perf_counter()."""
        if event.kind == "notice":
            return []
        if event.kind == "live":
            return self._back(event.at, now_s)
        self._reason = event.reason or self._reason
        if self._away_since_s is None:
            self._away_since_s = now_s
        at_once = event.kind == "stale" or (event.kind == "closed" and event.reason)
        return self._stale(event.at, now_s) if at_once else []

    def tick(self, at: datetime, now_s: float) -> list[CameraEvent]:
        """The events of time that passes; call it regularly."""
        away_s = 0.0 if self._away_since_s is None else now_s - self._away_since_s
        return self._stale(at, now_s) if away_s >= self._stale_after_s else []

    def _stale(self, at: datetime, now_s: float) -> list[CameraEvent]:
        if self._stale_since_s is not None:
            return []
        self._stale_since_s = now_s
        return [
            CameraEvent(id=new_id(), event="stale", camera=self.camera, stream=self.stream, at=at, reason=self._reason)
        ]

    def _back(self, at: datetime, now_s: float) -> list[CameraEvent]:
        since_s, self._stale_since_s, self._away_since_s = self._stale_since_s, None, None
        if since_s is None:
            return []
        away_s = round(now_s - since_s, 3)
        return [
            CameraEvent(id=new_id(), event="back", camera=self.camera, stream=self.stream, at=at, duration_s=away_s)
        ]
