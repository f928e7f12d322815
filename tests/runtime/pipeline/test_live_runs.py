"""Live runs: ages are correct, and faults do not stop a run."""

import http.server
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from mmpnet.cli.run.console_sink import print_summary
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError, SourceError
from mmpnet.media.images import write_image
from mmpnet.runtime.analytics.analyzer import Analysis, analyzer_factory
from mmpnet.runtime.analytics.shapes import parse_line
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.runtime.sources.mjpeg import MjpegCapture, without_queue
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import LiveOptions
from mmpnet.runtime.sources.video_capture import open_stream
from support.fake_capture import FakeCapture
from support.frames import write_video
from support.ports import free_port

CLOCK_BITS = 48
PATIENCE_S = 60.0
"""How long a test waits for what happens immediately on an idle machine."""


def burn_clock(_: int = 0) -> UInt8Array:
    """A frame whose pixels encode time.perf_counter() in microseconds, one column per bit."""
    now_us = int(time.perf_counter() * 1e6)
    bits = np.array([255 * (now_us >> bit & 1) for bit in range(CLOCK_BITS)], np.uint8)
    return np.ascontiguousarray(np.broadcast_to(bits[None, :, None], (16, CLOCK_BITS, 3)))


def read_clock(pixels_bgr: UInt8Array) -> float:
    """Seconds on time.perf_counter() that the pixels encode."""
    return sum(1 << bit for bit in range(CLOCK_BITS) if pixels_bgr[8, bit, 0] > 127) / 1e6


class SlowDetector:
    """Replaces a slow detector; records when it finished the frame of each clock time."""

    class_names = ("background", "person")

    def __init__(self, infer_s: float) -> None:
        self._infer_s = infer_s
        self.done_s: dict[float, float] = {}

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
        time.sleep(self._infer_s)
        if frame_bgr.shape[1] == CLOCK_BITS:
            self.done_s[read_clock(frame_bgr)] = time.perf_counter()
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return nothing, StageTimes(0.0, self._infer_s * 1e3, 0.0)


@dataclass
class Clocks(Sink):
    """Reads the clock in every frame; requests a stop after `enough`. All times are of time.perf_counter()."""

    enough: int
    burnt_s: list[float] = field(default_factory=list)
    captured_s: list[float] = field(default_factory=list)
    written_s: list[float] = field(default_factory=list)
    told_ages_ms: list[float] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        self.written_s.append(time.perf_counter())
        has_clock = result.frame.pixels_bgr.shape[1] == CLOCK_BITS
        self.burnt_s.append(read_clock(result.frame.pixels_bgr) if has_clock else 0.0)
        self.captured_s.append(result.frame.captured_s)
        self.told_ages_ms.append(result.age_ms)
        self.sources.append(result.frame.source)
        self.shapes.append(result.frame.pixels_bgr.shape)
        return len(self.told_ages_ms) < self.enough

    def event(self, event: Event) -> None:
        self.events.append(event)

    def finished(self, summary: Summary) -> None:
        self.facts = summary.facts()


def test_the_clock_in_the_pixels_can_be_read() -> None:
    before_s = time.perf_counter()
    assert before_s - 1e-5 <= read_clock(burn_clock()) <= time.perf_counter()


def test_ages_are_what_a_clock_in_the_pixels_says() -> None:
    """A camera of 200 frames per second with a detector of 20: a queue would soon be a minute behind."""
    retrieved_s: dict[float, float] = {}

    class Retrieving(FakeCapture):
        def retrieve(self) -> tuple[bool, UInt8Array | None]:
            began_s = time.perf_counter()
            delivered, pixels_bgr = super().retrieve()
            assert pixels_bgr is not None
            retrieved_s[read_clock(pixels_bgr)] = began_s
            return delivered, pixels_bgr

    capture, detector, clocks = Retrieving(burn_clock, period_s=0.005), SlowDetector(0.05), Clocks(enough=30)
    summary = run(LiveSource("camera 0", lambda: capture), detector, [clocks])  # type: ignore[arg-type]
    told = zip(clocks.burnt_s, clocks.captured_s, clocks.written_s, clocks.told_ages_ms, strict=True)
    for burnt_s, captured_s, written_s, age_ms in told:
        assert burnt_s <= captured_s <= retrieved_s[burnt_s], "between the grab and the decoding"
        assert detector.done_s[burnt_s] - captured_s <= age_ms / 1e3 + 1e-6, "the detection is in it"
        assert age_ms / 1e3 - 1e-6 <= written_s - captured_s
    counts = summary.sources[0]
    assert counts.processed == 30
    assert counts.dropped > 100, "most frames make room for newer ones"
    assert counts.processed + counts.dropped <= counts.captured <= counts.processed + counts.dropped + 4
    assert clocks.facts["sources"][0]["dropped"] == counts.dropped
    assert clocks.facts["frame_age_ms"]["p50"] == pytest.approx(np.median(clocks.told_ages_ms), abs=0.01)


def test_frames_that_are_too_old_are_dropped_and_counted() -> None:
    stop = threading.Event()

    class StoppingDetector(SlowDetector):
        def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
            found = super().timed(frame_bgr)
            if len(self.done_s) == 8:
                stop.set()
            return found

    camera = LiveSource("camera 0", lambda: FakeCapture(burn_clock, period_s=0.005))
    clocks = Clocks(enough=10**6)
    options = RunOptions(max_age_ms=20)
    summary = run(camera, StoppingDetector(0.04), [clocks], options, stop=stop)  # type: ignore[arg-type]
    assert clocks.told_ages_ms == [], "every result is at least 40 ms old"
    assert summary.sources[0].late >= 8
    assert clocks.facts["sources"][0]["late"] == summary.sources[0].late
    assert summary.sources[0].dropped >= summary.sources[0].late
    generous = Clocks(enough=5)
    again = LiveSource("camera 0", lambda: FakeCapture(burn_clock, period_s=0.005))
    run(again, SlowDetector(0.01), [generous], RunOptions(max_age_ms=600_000))  # type: ignore[arg-type]
    assert len(generous.told_ages_ms) == 5


def test_grabbing_and_writing_overlap_with_detecting() -> None:
    """Each stage waits for the stage before it to continue: if they ran in sequence, they would wait forever."""
    begun = threading.Semaphore(0)
    capture = FakeCapture(burn_clock, period_s=0.001)

    class WaitsForAGrab(SlowDetector):
        def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
            begun.release()
            grabs, until_s = capture.grabs, time.perf_counter() + PATIENCE_S
            while capture.grabs == grabs:
                assert time.perf_counter() < until_s, "nothing is grabbed while this one detects"
                time.sleep(0.001)
            return super().timed(frame_bgr)

    class WaitsForADetection(Clocks):
        def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
            # The frame's own detection started before, so the first image waits for two.
            for _ in range(1 if self.written_s else 2):
                assert begun.acquire(timeout=PATIENCE_S), "nothing is detected while this one writes"
            return super().write(result, annotated_bgr)

    clocks = WaitsForADetection(enough=10)
    run(LiveSource("camera 0", lambda: capture), WaitsForAGrab(0.0), [clocks])  # type: ignore[arg-type]
    assert len(clocks.written_s) == 10


def test_one_dead_source_never_stops_the_others(detector: Detector) -> None:
    alive = LiveSource("alive", lambda: FakeCapture(burn_clock, period_s=0.01))
    dead = LiveSource("dead", lambda: FakeCapture([], opened=False), options=LiveOptions(reconnect=True))
    dies = LiveSource("dies", lambda: FakeCapture([burn_clock()] * 2, period_s=0.01))
    clocks = Clocks(enough=25)
    summary = run([dead, dies, alive], detector, [clocks])
    assert clocks.sources.count("alive") >= 20
    assert {"dead", "dies"} <= {event.source for event in clocks.events if event.kind == "reconnecting"}
    processed = {counts.source: counts.processed for counts in summary.sources}
    assert (processed["dead"], processed["alive"]) == (0, clocks.sources.count("alive"))


def test_frames_of_changing_size_and_channels_are_detected_in(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    sizes = [(48, 64, 3), (1, 1, 3), (300, 20, 3), (48, 64), (48, 64, 4)]
    frames = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    clocks = Clocks(enough=5)

    def after_the_one_before(number: int) -> UInt8Array:
        number, until_s = min(number, len(frames) - 1), time.perf_counter() + PATIENCE_S
        while len(clocks.shapes) < number:  # a newer frame would replace one that was not used yet
            assert time.perf_counter() < until_s, f"frame {number - 1} is not written"
            time.sleep(0.005)
        return frames[number]

    camera = LiveSource("camera 0", lambda: FakeCapture(after_the_one_before, period_s=0.01))
    run(camera, detector, [clocks])
    assert clocks.shapes == [(48, 64, 3), (1, 1, 3), (300, 20, 3), (48, 64, 3), (48, 64, 3)]


class MjpegServer:
    """A network camera: JPEGs over HTTP on a port of this machine, which can be disconnected and reconnected.

    Every seventh JPEG is truncated.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._server: http.server.ThreadingHTTPServer | None = None
        self._cut = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video.mjpg"

    def plug_in(self) -> None:
        cut = self._cut = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not cut.wait(0.02):
                    image = np.full((120, 160, 3), number * 7 % 250, np.uint8)
                    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
                    if number % 7 == 3:
                        jpeg = jpeg[: len(jpeg) // 2]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    number += 1

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def cut_off(self) -> None:
        self._cut.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def mjpeg() -> Iterator[MjpegServer]:
    server = MjpegServer()
    server.plug_in()
    yield server
    server.cut_off()


def test_a_network_camera_is_unplugged_and_comes_back(mjpeg: MjpegServer, detector: Detector, tmp_path: Path) -> None:
    """Over a real socket and FFmpeg, with damaged images between the good ones."""

    class Unplugging(Sink):
        def __init__(self) -> None:
            self.frames = 0
            self.after = 0
            self.kinds: list[str] = []

        def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
            del result, annotated_bgr
            self.frames += 1
            if self.frames == 15:
                mjpeg.cut_off()
                threading.Timer(0.7, mjpeg.plug_in).start()
            self.after += "reconnecting" in self.kinds
            return self.after < 15

        def event(self, event: Event) -> None:
            self.kinds.append(event.kind)

    out, sink, stop = tmp_path / "out.ndjson", Unplugging(), threading.Event()
    threading.Timer(60, stop.set).start()
    sinks = [sink, NdjsonSink(str(out), detector.class_names)]
    run(open_source(mjpeg.url), detector, sinks, RunOptions(stale_after_s=30), stop=stop)
    assert sink.after == 15, "frames came again"
    states = [kind for kind in sink.kinds if kind != "notice"]
    assert states[:3] == ["connecting", "live", "reconnecting"]
    assert states[-2:] == ["live", "closed"], out.read_text()[-3000:]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    events = [line["event"] for line in lines if "event" in line]
    assert events == [*sink.kinds, "summary"]
    assert all(line["source"] == mjpeg.url for line in lines if "frame" in line)
    assert [line["frame"] for line in lines if "frame" in line] == list(range(sink.frames))
    assert next(line for line in lines if line.get("event") == "reconnecting")["reason"].endswith("0.5 s")
    notices = [line["reason"] for line in lines if line.get("event") == "notice"]
    assert len(notices) == 1
    assert "sends damaged frames" in notices[0]
    counts = lines[-1]["sources"][0]
    assert counts["damaged"] >= 2
    assert counts["captured"] >= counts["processed"] + counts["dropped"]


def test_no_image_of_a_network_camera_waits_in_a_buffer(mjpeg: MjpegServer) -> None:
    capture = without_queue(open_stream(mjpeg.url))
    assert isinstance(capture, MjpegCapture)
    skipped, until_s = 0, time.perf_counter() + PATIENCE_S
    first_s, second_s = 0.0, 0.0
    # Images that were sent while the stream was opened arrive at once, and not 20 ms apart. Only the first of two that
    # are apart has surely not waited.
    while not first_s or second_s - first_s < 0.015:
        assert time.perf_counter() < until_s
        assert capture.grab()
        first_s, second_s = second_s, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
    capture.skipped()
    while skipped < 10:  # at 50 images per second, they are read from the stream while nobody requests one
        assert time.perf_counter() < until_s
        time.sleep(0.1)
        skipped += capture.skipped()
    capture.grab()
    assert capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3 - first_s > 11 * 0.02 * 0.9, "the newest, not the next"
    capture.release()


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address on a local server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("name", "words"), [("walk.avi", "a file of 20 frames"), ("1.jpg", "one image")])
def test_a_file_on_the_web_is_read_once(web_folder: tuple[Path, str], name: str, words: str) -> None:
    folder, address = web_folder
    write_video(folder / "walk.avi", count=20)
    write_image(folder / "1.jpg", np.full((48, 64, 3), 90, np.uint8))
    clocks, stop = Clocks(enough=10**6), threading.Event()
    too_long = threading.Timer(60, stop.set)
    too_long.start()
    source = open_source(f"{address}/{name}", live=LiveOptions(reconnect=True))
    summary = run(source, SlowDetector(0.0), [clocks], stop=stop)  # type: ignore[arg-type]
    too_long.cancel()
    assert not stop.is_set(), "it ends by itself"
    assert summary.sources[0].captured == (20 if name == "walk.avi" else 1)
    assert [event.kind for event in clocks.events] == ["connecting", "live", "notice", "closed"]
    assert words in clocks.events[2].reason


def test_damaged_frames_stand_in_the_summary_for_people() -> None:
    console = Console(file=io.StringIO(), width=200)
    counts = SourceCounts("camera 0", live=True, captured=9, processed=5, replaced=4, damaged=3)
    print_summary(console, Summary(sources=[counts]), ("background", "person"), 1.0)
    assert isinstance(console.file, io.StringIO)
    assert "camera 0: 9 frames captured, 5 processed, 4 dropped, 3 damaged" in console.file.getvalue()


def test_an_image_among_those_to_follow_people_in_is_refused_before_anything_starts(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", np.zeros((48, 64, 3), np.uint8))
    connected = []

    def connect() -> Any:
        connected.append(1)
        return FakeCapture(burn_clock, period_s=0.01)

    sources = [LiveSource("camera 0", connect), open_source(str(tmp_path / "a.jpg"))]
    options = RunOptions(analyzer=analyzer_factory([Analysis(0.4)] * 2), limit=5)
    with pytest.raises(SourceError, match=r"a\.jpg: is an image; tracking people needs"):
        run(sources, SlowDetector(0.0), [Clocks(enough=5)], options)  # type: ignore[arg-type]
    assert connected == []


def test_a_camera_that_gives_no_frames_is_stale_until_it_gives_one(detector: Detector) -> None:
    def halting(number: int) -> UInt8Array:
        time.sleep(0.5 if number == 3 else 0.01)
        return burn_clock()

    camera = LiveSource("camera 0", lambda: FakeCapture(halting))
    clocks = Clocks(enough=8)
    run(camera, detector, [clocks], RunOptions(stale_after_s=0.2))
    assert [event.kind for event in clocks.events][:4] == ["connecting", "live", "stale", "live"]


def test_a_frozen_cameras_frames_are_marked(detector: Detector, tmp_path: Path) -> None:
    still = burn_clock()
    out = tmp_path / "out.ndjson"
    camera = LiveSource(
        "camera 0",
        lambda: FakeCapture([still] * 20, period_s=0.02),
        options=LiveOptions(reconnect=False, stale_after_s=0.15),
    )
    with pytest.raises(SourceError, match="camera 0: no frame after 20"):
        run(camera, detector, [NdjsonSink(str(out), detector.class_names)], RunOptions(stale_after_s=0.15))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    marks = [line.get("stale", False) for line in lines if "frame" in line]
    assert not marks[0]
    assert marks[-1]
    assert "the same image for 0.15 s" in [line.get("reason") for line in lines]


def test_a_slow_output_hands_on_nothing_that_is_too_old() -> None:
    """Frames that waited while the output took its 150 ms are older than 60 ms."""

    class SlowSink(Clocks):
        def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
            goes_on = super().write(result, annotated_bgr)
            time.sleep(0.15)
            return goes_on

    camera = LiveSource("camera 0", lambda: FakeCapture(burn_clock, period_s=0.005))
    clocks = SlowSink(enough=5)
    summary = run(camera, SlowDetector(0.005), [clocks], RunOptions(max_age_ms=60))  # type: ignore[arg-type]
    for captured_s, previous_s in zip(clocks.captured_s[1:], clocks.written_s, strict=False):
        assert captured_s > previous_s, "captured after the output began to take the one before"
    assert summary.sources[0].late >= 4


def test_that_every_frame_is_too_old_is_summed_up(tmp_path: Path) -> None:
    camera = LiveSource("camera 0", lambda: FakeCapture(burn_clock, period_s=0.005))
    out, stop = tmp_path / "out.ndjson", threading.Event()
    threading.Timer(0.5, stop.set).start()
    sinks = [NdjsonSink(str(out), ("background", "person"))]
    run(camera, SlowDetector(0.03), sinks, RunOptions(max_age_ms=10), stop=stop)  # type: ignore[arg-type]
    last = json.loads(out.read_text().splitlines()[-1])
    assert (last["event"], last["frames"]) == ("summary", 0)
    assert last["sources"][0]["late"] >= 3


def test_a_line_outside_a_cameras_new_size_ends_that_camera_alone() -> None:
    large, small = np.zeros((64, 64, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    shrinking = LiveSource("shrinks", lambda: FakeCapture([large, large, small, small], period_s=0.05))
    steady = LiveSource("steady", lambda: FakeCapture(lambda _: large.copy(), period_s=0.02))
    clocks = Clocks(enough=30)
    line = parse_line("door=0,40,64,40", default_name="")
    options = RunOptions(analyzer=analyzer_factory([Analysis(0.4, [line])] * 2))
    with pytest.raises(MmpnetError, match="door: the point"):
        run([shrinking, steady], SlowDetector(0.002), [clocks], options)  # type: ignore[arg-type]
    assert clocks.sources.count("steady") >= 20
    assert next(event for event in clocks.events if event.kind == "closed").source == "shrinks"
