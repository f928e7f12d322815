"""The sink that makes events of people and cameras, and passes them to outputs."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Protocol

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.events.availability import AvailabilityEvents
from mmpnet.runtime.events.presence import Happening, PresenceEvents
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event


class EventOutput(Protocol):
    """Where events go. All calls are made in the thread of the run, and none of them may wait."""

    def started(self, summary: Summary) -> None:
        """The run starts; its sources are the cameras, in the order of CameraEvent.stream."""

    def put(self, happening: Happening) -> bool:
        """Take an event; False requests the end of the run. Raises: OutputError."""

    def finished(self, summary: Summary) -> None:
        """The run has ended, successfully or not. Raises: OutputError."""

    def close(self) -> None:
        """Finish what was put. Raises: OutputError if something is lost."""


class EventSink(Sink):
    """Makes the events of a run with tracking, and hands each to every output.

    `class_names`: the model's. `snapshots`: keep the best image of each person. `clock`: time.perf_counter().
    """

    def __init__(
        self,
        outputs: Sequence[EventOutput],
        class_names: Sequence[str],
        *,
        stale_after_s: float,
        snapshots: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._outputs = outputs
        self._class_names = class_names
        self._stale_after_s = stale_after_s
        self._snapshots = snapshots
        self._clock = clock
        self._presence: list[PresenceEvents] = []
        self._availability: dict[int, AvailabilityEvents] = {}
        self._file: dict[int, str] = {}
        self._going_on = True

    def started(self, summary: Summary) -> None:
        for stream, counts in enumerate(summary.sources):
            self._presence.append(PresenceEvents(counts.source, stream, self._class_names, snapshots=self._snapshots))
            if counts.live:
                self._availability[stream] = AvailabilityEvents(
                    counts.source, stream, stale_after_s=self._stale_after_s, now_s=self._clock()
                )
        for output in self._outputs:
            output.started(summary)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        frame = result.frame
        presence = self._presence[frame.stream]
        if frame.kind != "camera" and self._file.setdefault(frame.stream, frame.source) != frame.source:
            self._file[frame.stream] = frame.source  # another file, whose tracks begin at 1 again
            self._put(presence.end())
        self._put(presence.update(result))
        self._pass_time()
        return self._going_on

    def event(self, event: Event) -> None:
        availability = self._availability.get(event.stream)
        if availability is not None:
            self._put([Happening(one) for one in availability.happened(event, self._clock())])

    def idle(self) -> bool:
        self._pass_time()
        return self._going_on

    def finished(self, summary: Summary) -> None:
        for presence in self._presence:
            self._put(presence.end())
        for output in self._outputs:
            output.finished(summary)

    def close(self) -> None:
        failed: OutputError | None = None
        for output in self._outputs:
            try:
                output.close()
            except OutputError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _pass_time(self) -> None:
        """What happens without a frame: people of a dead camera are gone, and the camera itself is stale."""
        if not self._availability:
            return
        now_s, at = self._clock(), datetime.now(timezone.utc)
        for stream, availability in self._availability.items():
            self._put(self._presence[stream].expire(now_s))
            self._put([Happening(one) for one in availability.tick(at, now_s)])

    def _put(self, happenings: Sequence[Happening]) -> None:
        for happening in happenings:
            for output in self._outputs:
                self._going_on &= output.put(happening)
