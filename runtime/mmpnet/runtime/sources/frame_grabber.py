"""Threads that read frames from sources and keep the newest one of each."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from types import TracebackType

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.sources.frame import Event, Frame, Source, State, distinct_names

JOIN_S = 2.0
"""How long closing waits for a thread that may hang in a driver."""
TICK_S = 0.2


@dataclass(slots=True)
class SourceCounts:
    """Counts of one source's frames: grabbed, replaced by a newer one before use, dropped because of their age.

    `source` is its name, which no other source of the run has.
    `damaged` frames could not be decoded. `repeated` ones were equal to the one before, with an OpenCV that may not
    have decoded them. No other number includes these two.
    """

    source: str
    live: bool
    state: State = "connecting"
    captured: int = 0
    replaced: int = 0
    late: int = 0
    processed: int = 0
    damaged: int = 0
    repeated: int = 0

    @property
    def dropped(self) -> int:
        """Frames without a result."""
        return self.replaced + self.late


class FrameGrabber:
    """One thread per source grabs frames; one reader takes them, from the sources in turn.

    A newer frame of a live source replaces one that was not taken yet. A file waits, so that all its frames are taken.
    Events come from the grabbing threads and from the reader's thread. Use it as a context manager.
    """

    def __init__(
        self, sources: Sequence[Source], on_event: Callable[[Event], None], *, stale_after_s: float = 5.0
    ) -> None:
        # Two cameras may differ only in what is hidden from people; everything else must tell them apart.
        names = distinct_names([source.name for source in sources])
        self.counts = [SourceCounts(name, source.live) for name, source in zip(names, sources, strict=True)]
        self._own_names = [source.name for source in sources]
        self.errors: list[BaseException] = []
        self._tell = on_event
        self._stale_after_s = stale_after_s
        self._changed = threading.Condition()
        self._slots: list[Frame | None] = [None] * len(sources)
        self._heard_s = [time.perf_counter()] * len(sources)
        self._running = len(sources)
        self._next = 0
        self._dropped: set[int] = set()
        self._stops = [threading.Event() for _ in sources]
        self._threads = [
            threading.Thread(target=self._grab, args=(stream, source), name=f"grab {source.name}", daemon=True)
            for stream, source in enumerate(sources)
        ]

    def __enter__(self) -> "FrameGrabber":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stop in self._stops:
            stop.set()
        with self._changed:
            self._changed.notify_all()
        until_s = time.perf_counter() + JOIN_S
        for thread in self._threads:
            thread.join(max(until_s - time.perf_counter(), 0.0))

    @property
    def ended(self) -> bool:
        """Whether every source has ended and every frame was taken."""
        with self._changed:
            return not self._running and not any(slot is not None for slot in self._slots)

    def take(self, timeout_s: float = TICK_S) -> Frame | None:
        """The next frame, or None if none comes within `timeout_s` or all sources have ended."""
        until_s = time.perf_counter() + timeout_s
        with self._changed:
            while (frame := self._pick()) is None and self._running:
                left_s = until_s - time.perf_counter()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._changed.notify_all()
        return frame

    def count_late(self, stream: int) -> None:
        """Count a frame, or its result, that was dropped because of its age; any thread may call it."""
        with self._changed:
            self.counts[stream].late += 1

    def drop(self, stream: int, error: MmpnetError) -> None:
        """Stop reading a source because of an error elsewhere; the others continue."""
        with self._changed:
            self._stops[stream].set()
            self._slots[stream] = None
            self.errors.append(error)
            self._turn(stream, "closed", str(error))
            self._dropped.add(stream)
            self._changed.notify_all()

    def _pick(self) -> Frame | None:
        for step in range(len(self._slots)):
            stream = (self._next + step) % len(self._slots)
            frame, self._slots[stream] = self._slots[stream], None
            if frame is not None:
                self._next = stream + 1
                return frame
        return None

    def _grab(self, stream: int, source: Source) -> None:
        try:
            for frame in source.frames(self._stops[stream], lambda event: self._happened(stream, event)):
                name = self.counts[stream].source if source.live else frame.source
                self._put(stream, replace(frame, stream=stream, source=name), every=not source.live)
                if self._stops[stream].is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._end(stream, error)
        else:
            self._end(stream, None)

    def _put(self, stream: int, frame: Frame, *, every: bool) -> None:
        counts = self.counts[stream]
        with self._changed:
            while every and self._slots[stream] is not None and not self._stops[stream].is_set():
                self._changed.wait(TICK_S)
            if self._stops[stream].is_set():
                return
            counts.captured += frame.skipped + (not frame.repeated)
            counts.replaced += frame.skipped + (not frame.repeated and self._slots[stream] is not None)
            counts.repeated += frame.repeated
            if not frame.repeated:
                self._slots[stream] = frame
            self._heard_s[stream] = time.perf_counter()
            self._changed.notify_all()
        if not counts.live:
            return
        if frame.frozen and counts.state != "stale":
            self._turn(stream, "stale", f"the same image for {self._stale_after_s:g} s")
        elif not frame.frozen and not frame.repeated and counts.state != "live":
            self._turn(stream, "live", "")

    def _end(self, stream: int, error: BaseException | None) -> None:
        # Set the error before the count, so that a reader that sees the end also sees the reason.
        if error is not None:
            self.errors.append(error)
        self._turn(stream, "closed", "" if error is None else str(error))
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def watch(self) -> None:
        """Mark live sources without frames for too long as stale; call it regularly."""
        now_s = time.perf_counter()
        for stream, counts in enumerate(self.counts):
            silent_s = now_s - self._heard_s[stream]
            if counts.state == "live" and counts.live and silent_s >= self._stale_after_s:
                self._turn(stream, "stale", f"no frame for {silent_s:.1f} s", only_from="live")

    def _happened(self, stream: int, event: Event) -> None:
        if event.kind == "damaged":
            with self._changed:
                self.counts[stream].damaged += event.count
        elif event.kind == "notice":
            reason = self._renamed(stream, event.reason)
            self._tell(replace(event, source=self.counts[stream].source, stream=stream, reason=reason))
        else:
            self._turn(stream, event.kind, event.reason)

    def _renamed(self, stream: int, reason: str) -> str:
        """The reason with the source's name in this run, where it begins with its own name."""
        own_name = f"{self._own_names[stream]}: "
        return f"{self.counts[stream].source}: {reason[len(own_name) :]}" if reason.startswith(own_name) else reason

    def _turn(self, stream: int, state: State, reason: str, *, only_from: State | None = None) -> None:
        """Set a new state and report it; both under the lock, so that events keep the order of the states."""
        with self._changed:
            counts = self.counts[stream]
            # A dropped source has already reported that it is closed; ignore late events from its thread.
            if stream in self._dropped or (only_from is not None and counts.state != only_from):
                return
            counts.state = state
            # A file has no states while it is read; if it fails and there are several sources, its name is reported.
            if counts.live or (state == "closed" and reason and len(self.counts) > 1):
                named = self._renamed(stream, reason)
                self._tell(Event(counts.source, state, datetime.now(timezone.utc), named, stream))


def newest_frames(source: Source) -> Iterator[Frame]:
    """Yield a live source's newest frame on each request.

    Raises: SourceError as the source does.
    """
    with FrameGrabber([source], lambda _: None) as grabber:
        while not grabber.ended:
            frame = grabber.take()
            if frame is not None:
                yield frame
        for error in grabber.errors:
            raise error
