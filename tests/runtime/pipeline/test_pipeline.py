"""A run: every frame reaches every sink, and sinks are always closed."""

import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DeviceError, OutputError, SourceError
from mmpnet.media.images import write_image
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.detect_stage import DetectStage
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.render_stage import RenderStage
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event, stamp_frame
from mmpnet.runtime.sources.frame_grabber import FrameGrabber
from mmpnet.runtime.sources.live import camera_source
from mmpnet.runtime.sources.open import open_source
from support.frames import make_noise, write_video


@dataclass
class ListSink(Sink):
    """Keeps its input; requests a stop after `enough` frames, fails at frame `failing`."""

    wants_annotated: bool = False
    enough: int | None = None
    failing: int | None = None
    results: list[Result] = field(default_factory=list)
    annotated: list[UInt8Array | None] = field(default_factory=list)
    closed: int = 0

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        if result.index == self.failing:
            raise OutputError("disk full")
        self.results.append(result)
        self.annotated.append(None if annotated_bgr is None else annotated_bgr.copy())
        return self.enough is None or len(self.results) < self.enough

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of different sizes."""
    for index in range(5):
        write_image(tmp_path / f"{index}.png", make_noise(index, (40 + index, 70 - index)))
    return tmp_path


def test_every_frame_is_detected_in_order(folder: Path, detector: Detector) -> None:
    sink = ListSink()
    summary = run(open_source(str(folder)), detector, [sink], RunOptions(remember=2))
    assert [result.index for result in sink.results] == list(range(5))
    for index, result in enumerate(sink.results):
        assert result.frame.source == str(folder / f"{index}.png")
        expected = detector(make_noise(index, (40 + index, 70 - index)))
        np.testing.assert_array_equal(result.detections.xyxy, expected.xyxy)
        np.testing.assert_array_equal(result.detections.score, expected.score)
    assert summary.frames == 5
    assert summary.detections == sum(len(result.detections) for result in sink.results) > 0
    assert [source for source, _ in summary.images] == [str(folder / "0.png"), str(folder / "1.png")]
    assert list(summary.times_ms["infer"]) == [result.times.infer_ms for result in sink.results]
    shown = summary.percentiles()
    assert shown["infer"]["p50"] == np.median([result.times.infer_ms for result in sink.results])
    assert shown["infer"]["p99"] is None, "five frames say nothing about the slowest in a hundred"
    assert list(shown) == ["grab", "preprocess", "infer", "postprocess", "render", "write", "frame age"]
    assert sink.closed == 1


def test_a_run_without_sinks_counts(folder: Path, detector: Detector) -> None:
    assert run(open_source(str(folder)), detector, []).frames == 5


def test_only_a_sink_that_wants_images_makes_them(folder: Path, detector: Detector) -> None:
    plain = ListSink()
    run(open_source(str(folder)), detector, [plain])
    assert plain.annotated == [None] * 5
    wanting = ListSink(wants_annotated=True)
    run(open_source(str(folder)), detector, [wanting])
    for index, (result, annotated) in enumerate(zip(wanting.results, wanting.annotated, strict=True)):
        original = make_noise(index, (40 + index, 70 - index))
        np.testing.assert_array_equal(result.frame.pixels_bgr, original)
        assert annotated is not None
        assert annotated.shape == original.shape
        assert (annotated != original).any(), "boxes must be painted, on a copy"


def test_a_camera_bears_its_rate_once_it_is_known_and_a_file_does_not(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    write_video(tmp_path / "b.avi", count=2)
    texts: list[str] = []
    monkeypatch.setattr("mmpnet.runtime.pipeline.render_stage.place_status", lambda _, text: texts.append(text))
    run(open_source(str(tmp_path)), detector, [ListSink(wants_annotated=True)])
    assert texts == []
    stage = RenderStage(("background", "person"), None)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    for index in range(3):
        frame = stamp_frame(np.zeros((48, 64, 3), np.uint8), source="camera 0", kind="camera", fps=30)
        stage.render(Result(frame, nothing, nothing, StageTimes(1, 1, 1)), index, annotate=True)
    assert [bool(re.fullmatch(r"[\d.]+ FPS  \d+ ms old", text)) for text in texts] == [False, True, True]
    assert re.fullmatch(r"\d+ ms old", texts[0])


@pytest.mark.parametrize("first", [True, False])
def test_a_sink_that_has_seen_enough_ends_the_run_after_all_got_the_frame(
    folder: Path, detector: Detector, first: bool
) -> None:
    content, greedy = ListSink(enough=2), ListSink()
    summary = run(open_source(str(folder)), detector, [content, greedy] if first else [greedy, content])
    assert (summary.frames, len(content.results), len(greedy.results)) == (2, 2, 2)
    assert (content.closed, greedy.closed) == (1, 1)


def test_sinks_are_closed_when_the_source_fails(folder: Path, detector: Detector) -> None:
    (folder / "2.png").write_text("no image")
    sinks = [ListSink(), ListSink()]
    with pytest.raises(SourceError, match=r"2\.png"):
        run(open_source(str(folder)), detector, sinks)
    others = len(list(folder.iterdir())) - 1
    assert [(len(sink.results), sink.closed) for sink in sinks] == [(others, 1), (others, 1)]


def test_sinks_are_closed_when_one_of_them_fails(folder: Path, detector: Detector) -> None:
    sinks = [ListSink(), ListSink(failing=1), ListSink()]
    with pytest.raises(OutputError, match="disk full"):
        run(open_source(str(folder)), detector, sinks)
    assert [sink.closed for sink in sinks] == [1, 1, 1]
    assert [len(sink.results) for sink in sinks] == [2, 1, 1]


def test_ctrl_c_ends_the_run_and_what_was_found_is_summed_up(folder: Path, detector: Detector) -> None:
    class Interrupted(ListSink):
        def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
            if result.index == 2:
                raise KeyboardInterrupt
            return super().write(result, annotated_bgr)

    sinks = [ListSink(), Interrupted()]
    summary = run(open_source(str(folder)), detector, sinks)
    assert [(len(sink.results), sink.closed) for sink in sinks] == [(3, 1), (2, 1)]
    assert summary.frames == 3


def test_what_a_failing_detector_says_is_never_swallowed(folder: Path) -> None:
    """The detection thread may fail at any time, also between the last check of its results and of its state."""

    class Failing:
        class_names = ("background", "person")

        def timed(self, frame_bgr: UInt8Array) -> object:
            del frame_bgr
            time.sleep(0.21)  # slightly longer than the run waits for a result
            raise DeviceError("the accelerator is gone")

    class Dawdling(ListSink):
        def idle(self) -> bool:
            time.sleep(0.03)
            return True

    for _ in range(3):
        with pytest.raises(DeviceError, match="the accelerator is gone"):
            run(open_source(str(folder)), Failing(), [Dawdling()])  # type: ignore[arg-type]


def test_a_sink_that_fails_keeps_no_other_from_the_summary(folder: Path, detector: Detector) -> None:
    class Told(ListSink):
        def finished(self, summary: Summary) -> None:
            self.closed += 10 * summary.frames

    sinks = [ListSink(failing=2), Told()]
    with pytest.raises(OutputError, match="disk full"):
        run(open_source(str(folder)), detector, sinks)
    assert sinks[1].closed == 31, "three frames were summed up, then it was closed"


def test_every_source_that_fails_is_reported(tmp_path: Path, detector: Detector) -> None:
    reasons: list[str] = []

    class Told(ListSink):
        def event(self, event: Event) -> None:
            reasons.append(f"{event.kind}: {event.reason}")

    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_text("no image")
    with pytest.raises(SourceError):
        run([open_source(str(path)) for path in paths], detector, [Told()])
    for path in paths:
        assert any(reason.startswith(f"closed: {path}: is not an image") for reason in reasons)


def test_asking_whether_a_frame_is_late_counts_nothing(detector: Detector) -> None:
    grabber = FrameGrabber([camera_source(0)], lambda _: None)
    stage = DetectStage(grabber, detector, RunOptions(max_age_ms=50))
    frame = stamp_frame(np.zeros((48, 64, 3), np.uint8), source="camera 0", kind="camera", fps=30)
    late, early = (replace(frame, captured_s=frame.captured_s + apart_s) for apart_s in (-60, 60))
    assert [stage.is_late(one) for one in (late, late, early)] == [True, True, False]
    assert grabber.counts[0].late == 0
    grabber.count_late(0)
    assert grabber.counts[0].late == 1
