"""The event sink of a run: events of people and of cameras go to every output, and to NDJSON."""

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.analytics.analyzer import Analysis, analyzer_factory
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.event_lines import EventLines
from mmpnet.runtime.sinks.events import EventSink
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.sources.open import open_source
from support.frames import write_video
from support.walks import NAMES, NOON, Scene, nobody, standing


@dataclass
class Kept:
    """An output that keeps events."""

    happenings: list[Happening] = field(default_factory=list)
    enough: int = 1000
    fails: bool = False
    closed: bool = False

    def started(self, summary: Summary) -> None:
        del summary

    def put(self, happening: Happening) -> bool:
        self.happenings.append(happening)
        return len(self.happenings) < self.enough

    def finished(self, summary: Summary) -> None:
        del summary

    def close(self) -> None:
        self.closed = True
        if self.fails:
            raise OutputError("disk full")

    @property
    def kinds(self) -> list[str]:
        return [one.event.event for one in self.happenings]


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class StandsStill:
    """Replaces a detector: one person stands in every frame but the first two."""

    class_names = NAMES
    frame = 0

    def timed(self, frame_bgr: object) -> tuple[Detections, StageTimes]:
        del frame_bgr
        self.frame += 1
        rows = 1 if self.frame > 2 else 0
        boxes = np.array([[10, 10, 30, 40]] * rows, np.float32).reshape(-1, 4)
        return Detections(boxes, np.full(rows, 0.9, np.float32), np.ones(rows, np.int64)), StageTimes(0, 0, 0)


def summary_of(*names: str, live: bool = True) -> Summary:
    return Summary(sources=[SourceCounts(name, live) for name in names])


def test_a_run_over_a_file_writes_its_events_as_ndjson(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "in.avi", count=18), tmp_path / "events.ndjson"
    out.write_text("old\n")
    sink = EventSink([EventLines(str(out))], NAMES, stale_after_s=5.0, snapshots=False)
    options = RunOptions(analyzer=analyzer_factory([Analysis(0.4)]))
    run(open_source(str(video)), StandsStill(), [sink], options)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["event"] for row in rows] == ["appeared", "gone"]
    assert {row["camera"] for row in rows} == {str(video)}
    assert "snapshot" not in rows[0]


def test_a_run_without_events_leaves_no_events_of_an_earlier_run(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "in.avi", count=3), tmp_path / "events.ndjson"
    out.write_text("old\n")
    sink = EventSink([EventLines(str(out))], NAMES, stale_after_s=5.0)
    run(open_source(str(video)), StandsStill(), [sink], RunOptions(analyzer=analyzer_factory([Analysis(0.4)])))  # type: ignore[arg-type]
    assert out.read_text() == ""


def test_every_file_of_a_folder_has_people_of_its_own(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, count=18)
    kept = Kept()
    sink = EventSink([kept], NAMES, stale_after_s=5.0)
    run(open_source(str(tmp_path)), StandsStill(), [sink], RunOptions(analyzer=analyzer_factory([Analysis(0.4)])))  # type: ignore[arg-type]
    assert kept.kinds == ["appeared", "gone", "appeared", "gone"]


def test_events_of_cameras_are_appended(tmp_path: Path) -> None:
    out = tmp_path / "events.ndjson"
    out.write_text('{"event": "yesterday"}\n')
    clock = Clock()
    sink = EventSink([EventLines(str(out))], NAMES, stale_after_s=5.0, clock=clock)
    sink.started(summary_of("front", "back"))
    for stream, source in enumerate(("front", "back")):
        sink.event(Event(source, "live", NOON, stream=stream))
    clock.now_s = 10.0
    sink.event(Event("back", "stale", NOON + timedelta(seconds=10), "no frame", stream=1))
    assert sink.idle()
    sink.close()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["event"], row.get("camera"), row.get("stream")) for row in rows] == [
        ("yesterday", None, None),
        ("stale", "back", 1),
    ]


def test_time_passes_without_frames_too() -> None:
    clock, kept, camera = Clock(), Kept(), Scene(Analysis(0.4))
    sink = EventSink([kept], NAMES, stale_after_s=5.0, clock=clock)
    sink.started(summary_of("door"))
    sink.event(Event("door", "live", NOON))
    for sights in standing((160, 160), 12):
        clock.now_s = camera.frames / 10
        sink.write(camera.result(sights), None)
    sink.event(Event("door", "reconnecting", NOON, "cable"))
    for clock.now_s in (2.0, 4.0, 6.0, 8.0):
        sink.idle()
    assert kept.kinds == ["appeared", "gone", "stale"]
    assert kept.happenings[2].event.reason == "cable"


def test_the_end_of_a_run_is_the_end_of_every_presence() -> None:
    kept, camera = Kept(), Scene(Analysis(0.4))
    sink = EventSink([kept], NAMES, stale_after_s=5.0, clock=Clock())
    sink.started(summary_of("door"))
    for sights in [*nobody(2), *standing((160, 160), 12)]:
        sink.write(camera.result(sights), None)
    sink.finished(summary_of("door"))
    assert kept.kinds == ["appeared", "gone"]
    assert kept.happenings[0].snapshot is not None


def test_two_cameras_with_equal_numbers_are_two_people() -> None:
    kept = Kept()
    cameras = [Scene(Analysis(0.4)), Scene(Analysis(0.4), stream=1)]
    sink = EventSink([kept], NAMES, stale_after_s=5.0, clock=Clock())
    sink.started(summary_of("front", "back"))
    for sights in standing((160, 160), 12):
        for camera in cameras:
            sink.write(camera.result(sights), None)
    assert [(one.event.camera, one.event.stream) for one in kept.happenings] == [("front", 0), ("back", 1)]


def test_an_output_may_end_the_run_and_a_failing_one_does_not_prevent_the_others() -> None:
    first, second, camera = Kept(fails=True, enough=1), Kept(), Scene(Analysis(0.4))
    sink = EventSink([first, second], NAMES, stale_after_s=5.0, clock=Clock())
    sink.started(summary_of("door"))
    going_on = [sink.write(camera.result(sights), None) for sights in standing((160, 160), 12)]
    assert going_on[0]
    assert not going_on[-1]
    with pytest.raises(OutputError, match="disk full"):
        sink.close()
    assert (first.closed, second.closed) == (True, True)


def test_a_blurred_run_has_blurred_snapshots() -> None:
    kept, camera = Kept(), Scene(Analysis(0.4))
    sink = EventSink([kept], NAMES, stale_after_s=5.0, clock=Clock())
    sink.started(summary_of("door"))
    for sights in standing((160, 160), 12):
        result = camera.result(sights)
        pixelated = np.full_like(result.frame.pixels_bgr, 7)  # what the render stage passes on with --blur
        sink.write(replace(result, frame=replace(result.frame, pixels_bgr=pixelated)), None)
    assert kept.happenings[0].snapshot is not None
    assert (kept.happenings[0].snapshot.pixels_bgr == 7).all()


def test_an_event_output_that_is_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"--events .*: is also a source"):
        EventLines(str(tmp_path / "a.avi"), sources=[tmp_path / "a.avi"], stop=threading.Event())
