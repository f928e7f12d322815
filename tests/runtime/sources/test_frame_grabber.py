"""The reader gets every frame of a file and the newest of a live source; a failing source stops no other."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import SourceError
from mmpnet.runtime.sources.frame import Event, Frame, OnEvent, stamp_frame
from mmpnet.runtime.sources.frame_grabber import FrameGrabber
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.runtime.sources.options import LiveOptions
from support.fake_capture import FakeCapture


@dataclass
class Numbers:
    """A source of `count` frames, numbered by brightness, one every `period_s`; then it ends, or fails with `error`."""

    name: str = "numbers"
    count: int = 10
    live: bool = False
    period_s: float = 0.0
    error: str = ""
    pauses: dict[int, float] = field(default_factory=dict)
    many_files: bool = False
    paths: tuple[Path, ...] = ()
    ended: bool = False

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), lambda _: None)

    def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
        del on_event
        try:
            for number in range(self.count):
                if stop.wait(self.period_s + self.pauses.get(number, 0.0)):
                    return
                pixels = np.full((4, 4, 3), number % 256, np.uint8)
                yield stamp_frame(pixels, source=self.name, kind="camera" if self.live else "video", fps=10.0)
            if self.error:
                raise SourceError(f"{self.name}: {self.error}")
        finally:
            self.ended = True


def values(frames: list[Frame]) -> list[int]:
    return [int(frame.pixels_bgr[0, 0, 0]) for frame in frames]


def drain(grabber: FrameGrabber, pause_s: float = 0.0) -> list[Frame]:
    """All frames, read by a slow reader."""
    frames = []
    while not grabber.ended:
        frame = grabber.take()
        if frame is not None:
            frames.append(frame)
            time.sleep(pause_s)
    return frames


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.002)


def test_a_slow_reader_gets_every_frame_of_a_file() -> None:
    with FrameGrabber([Numbers(count=20)], lambda _: None) as grabber:
        frames = drain(grabber, pause_s=0.005)
    assert values(frames) == list(range(20))
    counts = grabber.counts[0]
    assert (counts.captured, counts.dropped, counts.state) == (20, 0, "closed")


def test_a_slow_reader_gets_the_newest_frame_of_a_live_source() -> None:
    first_taken = threading.Event()

    class Held(Numbers):
        def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
            for number, frame in enumerate(super().frames(stop, on_event)):
                if number == 1:  # or a slow machine would take one of the last frames first
                    first_taken.wait(60)
                yield frame

    with FrameGrabber([Held(count=50, live=True, period_s=0.002)], lambda _: None) as grabber:
        first = grabber.take(60)
        first_taken.set()
        wait_until(lambda: grabber.counts[0].captured > 10)
        frames = drain(grabber, pause_s=0.02)
    assert first is not None
    seen = values([first, *frames])
    assert seen == sorted(set(seen)), "in order, none twice"
    assert seen[1] - seen[0] > 5, "what was missed is not made up for"
    assert seen[-1] == 49
    counts = grabber.counts[0]
    assert counts.captured == 50
    assert counts.captured == len(seen) + counts.dropped


def test_no_source_starves_beside_a_fast_one() -> None:
    fast, slow = Numbers("fast", count=100), Numbers("slow", count=5)
    with FrameGrabber([fast, slow], lambda _: None) as grabber:
        wait_until(lambda: grabber.counts[1].captured > 0)  # its thread may start long after the other one
        frames = drain(grabber, pause_s=0.002)
    assert [frame.source for frame in frames].count("slow") == 5
    assert "slow" in [frame.source for frame in frames[:4]]
    assert {(frame.source, frame.stream) for frame in frames} == {("fast", 0), ("slow", 1)}


def test_a_source_that_fails_stops_no_other_and_its_error_is_kept() -> None:
    events: list[Event] = []
    good = Numbers("good", count=8, live=True, period_s=0.01)
    bad = Numbers("bad", count=1, live=True, error="its cable is cut")
    with FrameGrabber([bad, good], events.append) as grabber:
        frames = drain(grabber)
    assert [frame.source for frame in frames].count("good") == 8
    assert [str(error) for error in grabber.errors] == ["bad: its cable is cut"]
    closed = {event.source: event.reason for event in events if event.kind == "closed"}
    assert closed == {"bad": "bad: its cable is cut", "good": ""}


def test_a_source_that_is_given_up_after_its_end_is_reported_at_once_and_once() -> None:
    events: list[Event] = []
    with FrameGrabber([Numbers("a.jpg", count=1), Numbers("b.avi", count=400)], events.append) as grabber:
        first = next(frame for frame in iter(grabber.take, None) if frame.source == "a.jpg")
        while grabber.counts[0].state != "closed":
            time.sleep(0.005)
        assert events == [], "a file that was read to its end is nothing to tell"
        grabber.drop(first.stream, SourceError("a.jpg: is an image"))
        assert [(event.source, event.kind, event.reason) for event in events] == [
            ("a.jpg", "closed", "a.jpg: is an image")
        ]
        assert not grabber.ended, "the other goes on"
    assert len(events) == 1
    assert [str(error) for error in grabber.errors] == ["a.jpg: is an image"]


def test_a_live_source_that_is_given_up_stays_closed() -> None:
    events: list[Event] = []
    live = Numbers("camera 0", count=10**6, live=True, period_s=0.002)
    with FrameGrabber([live, Numbers(count=10**6)], events.append) as grabber:
        while grabber.counts[0].state != "live":
            grabber.take(0.01)
        grabber.drop(0, SourceError("camera 0: its line lies outside"))
        while not live.ended:
            time.sleep(0.005)
    assert [(event.kind, event.reason) for event in events] == [
        ("live", ""),
        ("closed", "camera 0: its line lies outside"),
    ]


def test_damaged_and_skipped_frames_are_counted() -> None:
    class Numbered(Numbers):
        def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
            for number, frame in enumerate(super().frames(stop, on_event)):
                on_event(Event(self.name, "damaged", datetime.now(timezone.utc), count=number))
                yield replace(frame, skipped=2)

    events: list[Event] = []
    with FrameGrabber([Numbered(count=5, live=True, period_s=0.01)], events.append) as grabber:
        taken = len(drain(grabber))
    counts = grabber.counts[0]
    assert counts.damaged == 0 + 1 + 2 + 3 + 4
    assert "damaged" not in [event.kind for event in events], "they are counted, not listed"
    assert counts.captured == 5 * 3
    assert counts.dropped == counts.captured - taken


def test_repeated_frames_are_counted_and_not_given() -> None:
    """They keep a source live, and make it stale if they repeat for too long."""

    class Repeating(Numbers):
        def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
            for number, frame in enumerate(super().frames(stop, on_event)):
                yield replace(frame, repeated=number % 3 != 0, frozen=number == 17)

    events: list[Event] = []
    numbers = Repeating(count=18, live=True, period_s=0.02)
    with FrameGrabber([numbers], events.append, stale_after_s=0.15) as grabber:
        taken = 0
        while not grabber.ended:
            taken += grabber.take(0.01) is not None
            grabber.watch()
    counts = grabber.counts[0]
    assert (counts.repeated, counts.captured) == (12, 6)
    assert taken + counts.replaced == 6
    assert [event.kind for event in events] == ["live", "stale", "closed"]


def test_late_frames_do_not_make_a_source_stale() -> None:
    class Late(Numbers):
        def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
            for frame in super().frames(stop, on_event):
                yield replace(frame, captured_s=frame.captured_s - 60)

    events: list[Event] = []
    with FrameGrabber([Late(count=20, live=True, period_s=0.01)], events.append) as grabber:
        while not grabber.ended:
            grabber.take(0.02)
            grabber.watch()
    assert [event.kind for event in events] == ["live", "closed"]


def test_a_silent_source_turns_stale_and_live_again() -> None:
    events: list[Event] = []
    source = Numbers(count=6, live=True, period_s=0.01, pauses={3: 0.4})
    with FrameGrabber([source], events.append, stale_after_s=0.15) as grabber:
        while not grabber.ended:
            grabber.take(0.02)
            grabber.watch()
    assert [event.kind for event in events] == ["live", "stale", "live", "closed"]
    assert events[1].reason.startswith("no frame for 0.")


def test_a_frozen_source_turns_stale_and_live_again() -> None:
    events: list[Event] = []
    still, moving = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    capture = FakeCapture([still] * 12 + [moving], period_s=0.02)
    source = LiveSource("camera 0", lambda: capture, options=LiveOptions(reconnect=False, stale_after_s=0.1))
    with FrameGrabber([source], events.append, stale_after_s=0.1) as grabber:
        while not grabber.ended:
            grabber.take(0.02)
    assert [event.kind for event in events][:4] == ["connecting", "live", "stale", "live"]
    assert events[2].reason == "the same image for 0.1 s"


def test_files_tell_no_events() -> None:
    events: list[Event] = []
    with FrameGrabber([Numbers(count=3)], events.append) as grabber:
        drain(grabber)
    assert events == []


def test_closing_ends_the_grabbing() -> None:
    live, file = Numbers(count=10**6, live=True, period_s=0.001), Numbers(count=10**6)
    with FrameGrabber([live, file], lambda _: None) as grabber:
        grabber.take()
    assert live.ended
    assert file.ended


def test_a_driver_that_hangs_does_not_keep_the_run_from_its_end() -> None:
    released, returned = threading.Event(), threading.Event()

    class Hanging(Numbers):
        def frames(self, stop: threading.Event, on_event: OnEvent) -> Iterator[Frame]:
            del stop, on_event
            released.wait(60)
            returned.set()
            yield from ()

    with FrameGrabber([Hanging(live=True)], lambda _: None) as grabber:
        assert grabber.take(0.01) is None
    assert not returned.is_set(), "the driver still hangs"
    released.set()


@pytest.mark.parametrize("reconnect", [None, False])
def test_iterating_a_live_source_gives_the_newest_frame(reconnect: bool | None) -> None:
    capture = FakeCapture(lambda number: np.full((6, 8, 3), number % 256, np.uint8), period_s=0.004)
    seen: list[int] = []
    frames = iter(LiveSource("camera 0", lambda: capture, LiveOptions(reconnect=reconnect)))
    for _ in range(5):
        grabbed = capture.grabs
        seen.append(int(next(frames).pixels_bgr[0, 0, 0]))
        assert seen[-1] >= grabbed - 2, "the newest, but for the one on its way"
        while capture.grabs < 8 * len(seen):
            time.sleep(0.004)
    frames.close()  # type: ignore[attr-defined]
    assert capture.released, "who stops reading stops the grabbing"
    assert seen == sorted(set(seen))
    assert seen[-1] > 15


def test_sources_of_one_name_get_names_and_numbers_of_their_own() -> None:
    """Two cameras whose addresses differ only in what is hidden from people."""
    events: list[Event] = []
    sources = [Numbers("camera ***", count=3, live=True, error="broken") for _ in range(3)]
    with FrameGrabber(sources, events.append) as grabber:
        frames = drain(grabber)
    names = ["camera ***", "camera *** (2)", "camera *** (3)"]
    assert [counts.source for counts in grabber.counts] == names
    assert {(frame.stream, frame.source) for frame in frames} == set(enumerate(names))
    closed = {(event.stream, event.source, event.reason) for event in events if event.kind == "closed"}
    assert closed == {(stream, name, f"{name}: broken") for stream, name in enumerate(names)}


def test_a_file_keeps_its_name_in_frames_and_has_the_number_of_its_source() -> None:
    with FrameGrabber([Numbers("a.mp4", count=2), Numbers("a.mp4", count=2)], lambda _: None) as grabber:
        frames = drain(grabber)
    assert sorted((frame.stream, frame.source) for frame in frames) == [(0, "a.mp4")] * 2 + [(1, "a.mp4")] * 2
    assert [counts.source for counts in grabber.counts] == ["a.mp4", "a.mp4 (2)"]
