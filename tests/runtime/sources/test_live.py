"""A live source reports its mode, hides no failure, and reconnects."""

import itertools
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.runtime.sources import live
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.freeze import FrozenFrameDetector
from mmpnet.runtime.sources.live import LONGEST_WAIT_S, LiveSource, camera_source, stream_source
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import CameraMode, LiveOptions
from mmpnet.runtime.sources.redact import without_password
from mmpnet.runtime.sources.video_capture import as_bgr
from support.fake_capture import FakeCapture


def frame(value: int, size_hw: tuple[int, int] = (12, 16)) -> UInt8Array:
    return np.full((*size_hw, 3), value, np.uint8)


class Waits(threading.Event):
    """A stop event that is never set, and records how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        return False


class Plug:
    """Connects to one capture after another; the last one repeatedly."""

    def __init__(self, *captures: Any) -> None:
        self.captures = list(captures)
        self.used: list[Any] = []

    def __call__(self) -> Any:
        self.used.append(self.captures[min(len(self.used), len(self.captures) - 1)])
        return self.used[-1]


def collect(source: LiveSource, count: int, stop: threading.Event | None = None) -> tuple[list[int], list[Event]]:
    """The values of the first `count` frames, and the events in the meantime."""
    events: list[Event] = []
    seen: list[int] = []
    frames = source.frames(stop or threading.Event(), events.append)
    for taken in frames:
        seen.append(int(taken.pixels_bgr[0, 0, 0]))
        if len(seen) == count:
            break
    frames.close()  # type: ignore[attr-defined]
    return seen, events


def test_a_lost_source_is_opened_again_and_its_frames_continue() -> None:
    plug = Plug(FakeCapture([frame(1), frame(2)]), FakeCapture([], opened=False), FakeCapture([frame(3)] * 9))
    stop = Waits()
    seen, events = collect(LiveSource("camera 0", plug), 4, stop)
    assert seen == [1, 2, 3, 3]
    assert [event.kind for event in events] == ["connecting", "reconnecting", "reconnecting"]
    assert events[1].reason.startswith("camera 0: no frame after 2; check its cable")
    assert events[1].reason.endswith("trying again in 0.5 s")
    assert events[2].reason.startswith("camera 0: cannot be opened")
    assert stop.waited == [0.5, 1.0]
    assert all(capture.released for capture in plug.used)


@pytest.mark.parametrize(("steady_s", "last_waits"), [(0.0, [0.5, 0.5]), (60.0, [LONGEST_WAIT_S, LONGEST_WAIT_S])])
def test_waiting_doubles_up_to_its_cap_and_restarts_once_frames_come_for_some_seconds(
    monkeypatch: pytest.MonkeyPatch, steady_s: float, last_waits: list[float]
) -> None:
    monkeypatch.setattr("mmpnet.runtime.sources.live.STEADY_S", steady_s)
    dead = [FakeCapture([], opened=False) for _ in range(9)]
    plug = Plug(*dead, *[FakeCapture([frame(value)]) for value in (1, 2, 3)])
    stop = Waits()
    seen, _ = collect(LiveSource("rtsp://x", plug, options=LiveOptions(reconnect=True)), 3, stop)
    assert seen == [1, 2, 3]
    assert stop.waited == [0.5, 1, 2, 4, 8, 16, *[LONGEST_WAIT_S] * 3, *last_waits]


@pytest.mark.parametrize("reconnect", [None, False])
def test_a_source_that_never_worked_is_an_error(reconnect: bool | None) -> None:
    source = LiveSource("camera 7", Plug(FakeCapture([], opened=False)), options=LiveOptions(reconnect=reconnect))
    with pytest.raises(SourceError, match="camera 7: cannot be opened"):
        collect(source, 1)
    opens_only = LiveSource("camera 7", Plug(FakeCapture([])), options=LiveOptions(reconnect=reconnect))
    with pytest.raises(SourceError, match="camera 7: no frame after 0"):
        collect(opens_only, 1)


def test_without_reconnecting_a_lost_source_is_an_error() -> None:
    capture = FakeCapture([frame(1)])
    with pytest.raises(SourceError, match="camera 7: no frame after 1"):
        collect(LiveSource("camera 7", Plug(capture), options=LiveOptions(reconnect=False)), 2)
    assert capture.released


def test_a_stop_ends_the_waiting() -> None:
    class StopsAtOnce(Waits):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    stop = StopsAtOnce()
    seen, _ = collect(
        LiveSource("x", Plug(FakeCapture([], opened=False)), options=LiveOptions(reconnect=True)), 1, stop
    )
    assert seen == []
    assert stop.waited == [0.5]


def test_a_mode_is_requested_format_first_and_what_is_not_given_is_reported() -> None:
    yuyv = float(cv2.VideoWriter.fourcc(*"YUYV"))
    capture = FakeCapture([frame(0)], modes={cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FOURCC: yuyv})
    mode = CameraMode(width=1280, height=720, fps=30, fourcc="MJPG")
    _, events = collect(LiveSource("camera 0", Plug(capture), options=LiveOptions(mode)), 1)
    assert [prop for prop, _ in capture.asked] == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]
    notices = [event.reason for event in events if event.kind == "notice"]
    assert notices == ["camera 0: requested width 1280, is 640; fourcc MJPG, is YUYV"]


def test_a_mode_that_is_given_is_not_reported() -> None:
    mode = CameraMode(width=1280, height=720, fps=30, fourcc="MJPG")
    _, events = collect(LiveSource("camera 0", Plug(FakeCapture([frame(0)])), options=LiveOptions(mode)), 1)
    assert [event.kind for event in events] == ["connecting"]
    untouched = FakeCapture([frame(0)])
    collect(LiveSource("camera 0", Plug(untouched)), 1)
    assert untouched.asked == []


@pytest.mark.parametrize(("asked_fps", "told"), [(1000.0, True), (20.0, False)])
def test_a_rate_that_is_promised_and_not_delivered_is_reported(asked_fps: float, told: bool) -> None:
    capture = FakeCapture([frame(value) for value in range(40)], period_s=0.004)
    _, events = collect(LiveSource("camera 0", Plug(capture), options=LiveOptions(CameraMode(fps=asked_fps))), 40)
    notices = [event.reason for event in events if event.kind == "notice"]
    assert len(notices) == told
    assert all("requested 1000 fps, delivers" in notice for notice in notices)


@pytest.mark.parametrize("fourcc", ["MJPEG", "", "MJ", "MJP\n"])
def test_a_format_that_is_invalid_is_refused(fourcc: str) -> None:
    with pytest.raises(ValueError, match="expected four characters"):
        CameraMode(fourcc=fourcc)


def test_damaged_frames_are_skipped_counted_and_reported_once() -> None:
    class Failing(FakeCapture):
        """Like FFmpeg: grab itself fails at a damaged frame, here before each frame."""

        failing = True

        def grab(self) -> bool:
            self.failing = not self.failing
            return self.failing and super().grab()

    empty = np.zeros((0, 0, 3), np.uint8)
    plug = Plug(FakeCapture([frame(1), None, empty, frame(2), frame(3), None]), Failing([frame(4)]))
    events: list[Event] = []
    frames = LiveSource("x", plug).frames(Waits(), events.append)
    taken = [next(frames) for _ in range(4)]
    assert [int(one.pixels_bgr[0, 0, 0]) for one in taken] == [1, 2, 3, 4]
    assert [event.count for event in events if event.kind == "damaged"] == [1, 1, 1, 1], "across connections"
    events = [event for event in events if event.kind != "damaged"]
    assert [event.kind for event in events] == ["connecting", "notice", "reconnecting"]
    assert events[1].reason.startswith("x: sends damaged frames, which are skipped and counted")


def test_frames_that_are_left_out_are_not_decoded() -> None:
    capture = FakeCapture([frame(value) for value in range(10)])
    seen, _ = collect(LiveSource("x", Plug(capture), stride=3), 4)
    assert seen == [0, 3, 6, 9]
    assert (capture.grabs, capture.retrieved) == (10, 4)


def test_frames_may_change_their_size_and_their_channels() -> None:
    gray, deep = np.full((5, 7), 9, np.uint8), np.full((5, 7), 9 << 8, np.uint16)
    alpha = np.full((5, 7, 4), 9, np.uint8)
    plug = Plug(FakeCapture([frame(9), frame(9, (3, 5)), gray, gray[..., None], deep, alpha]))  # type: ignore[list-item]
    source = LiveSource("x", plug).frames(threading.Event(), lambda _: None)
    shapes = [next(source).pixels_bgr for _ in range(6)]
    assert [image.shape for image in shapes] == [(12, 16, 3), (3, 5, 3), *[(5, 7, 3)] * 4]
    assert all(image.dtype == np.uint8 and (image == 9).all() for image in shapes)
    np.testing.assert_array_equal(as_bgr(frame(3)), frame(3))


def test_an_image_that_stays_for_too_long_is_frozen() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    watch = FrozenFrameDetector(after_s=5.0)
    assert [watch.is_frozen(first.copy(), now) for now in (100.0, 104.9, 105.0, 106.0)] == [False, False, True, True]
    nearly = first.copy()
    nearly[33, 41, 1] ^= 1  # a single bit of noise, which a coarse comparison misses
    assert [watch.is_frozen(nearly, now) for now in (106.5, 111.4)] == [False, False]
    assert watch.is_frozen(nearly, 111.5)
    assert not watch.is_frozen(nearly[:40], 112.0)


@pytest.mark.usefixtures("clock")
def test_a_frozen_stream_marks_its_frames() -> None:
    plug = Plug(FakeCapture([frame(1)] * 8 + [frame(2)], period_s=0.02))
    source = LiveSource("x", plug, LiveOptions(stale_after_s=0.07)).frames(threading.Event(), lambda _: None)
    marks = [next(source).frozen for _ in range(9)]
    assert marks == [False] * 4 + [True] * 4 + [False]


def test_an_image_that_every_connection_gives_again_is_frozen() -> None:
    plug = Plug(*[FakeCapture([frame(1)], period_s=0.03) for _ in range(6)], FakeCapture([frame(2)]))
    source = LiveSource("x", plug, LiveOptions(stale_after_s=0.07)).frames(Waits(), lambda _: None)
    marks = [next(source).frozen for _ in range(7)]
    assert (marks[0], marks[5], marks[6]) == (False, True, False)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (3.0, "a file of 3 frames"),
        (1.0, "one image, not a stream"),
        (4.0, "a file of 3 frames, by its header of about 4, not a stream"),
    ],
)
def test_a_file_behind_an_address_ends(stated: float, words: str) -> None:
    capture = FakeCapture([frame(1), frame(2), frame(3)][: int(stated)], modes={cv2.CAP_PROP_FRAME_COUNT: stated})
    seen, events = collect(LiveSource("http://x/a", Plug(capture), LiveOptions(reconnect=True), may_end=True), 9)
    assert len(seen) == min(stated, 3)
    assert [event.kind for event in events] == ["connecting", "notice"]
    assert words in events[1].reason
    assert capture.released


@pytest.mark.parametrize("count", [1, 2])
def test_an_address_of_an_image_ends_after_one_but_may_be_a_stream(count: int) -> None:
    source = LiveSource(
        "http://x/1.jpg", Plug(*[FakeCapture([frame(1)] * count) for _ in range(2)]), may_end=True, still_image=True
    )
    seen, events = collect(source, 3, Waits())
    assert (len(seen), events[-1].kind) == ((1, "notice") if count == 1 else (3, "reconnecting"))


@pytest.mark.parametrize(("stated", "may_end"), [(100.0, True), (0.0, True), (-9.2e18, True), (3.0, False)])
def test_what_ends_too_soon_or_is_not_a_file_is_lost(stated: float, may_end: bool) -> None:
    capture = FakeCapture([frame(1), frame(2), frame(3)], modes={cv2.CAP_PROP_FRAME_COUNT: stated})
    source = LiveSource("x", Plug(capture), LiveOptions(reconnect=False), may_end=may_end)
    with pytest.raises(SourceError, match="x: no frame after 3"):
        collect(source, 9)


def test_which_streams_state_the_time_and_which_may_be_files() -> None:
    urls = ["rtsp://h/x", "RTSPS://h/x", "http://h/x", "https://h/x", "udp://h:1"]
    sources = [stream_source(url) for url in urls]
    assert [source.clocked for source in sources] == [True, True, False, False, False]
    assert [source.may_end for source in sources] == [False, False, True, True, False]
    images = [
        stream_source(f"http://h/{name}").still_image for name in ("a.JPG?t=1.5", "a.png#x", "a.mjpg", "jpg", "?a.jpg")
    ]
    assert images == [True, True, False, False, False]


@pytest.mark.parametrize("taken", [True, False])
def test_a_cameras_driver_gets_a_request_for_a_short_queue(monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    class Driver(FakeCapture):
        def set(self, prop: int, value: float) -> bool:
            super().set(prop, value)
            return taken

    capture = Driver([frame(1)])
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: capture)
    seen, events = collect(camera_source(0), 1)
    assert capture.asked == [(cv2.CAP_PROP_BUFFERSIZE, 2)]
    assert (seen, [event.kind for event in events]) == ([1], ["connecting"])


class Queueing:
    """Replaces a stream's cv2.VideoCapture: frame i comes at i * `period_s`, waits, and takes `decode_s`."""

    def __init__(self, *, period_s: float, decode_s: float) -> None:
        self._period_s, self._decode_s, self._count = period_s, decode_s, 0
        self._began_s = time.perf_counter()

    def came_s(self) -> float:
        """Arrival time on time.perf_counter() of the last grabbed frame."""
        return self._began_s + (self._count - 1) * self._period_s

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, prop: int) -> float:
        return (self._count - 1) * self._period_s * 1e3 if prop == cv2.CAP_PROP_POS_MSEC else 0.0

    def grab(self) -> bool:
        self._count += 1
        time.sleep(max(self.came_s() - time.perf_counter(), 0.0) + self._decode_s)
        return True

    def retrieve(self) -> tuple[bool, UInt8Array]:
        return True, frame(self._count % 256)

    def release(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time.perf_counter() that advances only when a thread sleeps."""
    now_s = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    monkeypatch.setattr(time, "sleep", sleep)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("decode_s", [0.002, 0.03])
def test_ages_hold_the_wait_before_a_slow_decoder(decode_s: float) -> None:
    """At 100 frames per second and 30 ms each, the 27th frame has waited for more than half a second."""
    capture = Queueing(period_s=0.01, decode_s=decode_s)
    source = LiveSource("rtsp://x", Plug(capture), clocked=True).frames(threading.Event(), lambda _: None)
    ages = [(next(source).age_ms(), (time.perf_counter() - capture.came_s()) * 1e3) for _ in range(25)]
    told_ms, true_ms = ages[-1]
    # Two frames are skipped before it is known that none comes from the buffer of the opening.
    assert true_ms == pytest.approx(27 * 30 - 26 * 10 if decode_s > 0.01 else 2)
    # The first frame's delay is the smallest known; the two clocks may drift.
    assert told_ms == pytest.approx(true_ms - ages[0][1], abs=0.5)
    stamps = LiveSource("rtsp://x", Plug(Queueing(period_s=0.01, decode_s=decode_s)), clocked=True)
    frames = stamps.frames(threading.Event(), lambda _: None)
    _, second, *_, last = (next(frames) for _ in range(10))
    assert last.captured_s - second.captured_s == pytest.approx(0.08, abs=1e-3), "by the sender's clock"
    assert last.grab_ms < 1, "a frame's wait is not its decoding"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:secret@10.0.0.3:554/live?channel=2", "rtsp://***@10.0.0.3:554/live?channel=2"),
        ("RTSP://u:p@ss@host/x", "RTSP://***@host/x"),
        ("http://me@home.org:secret@host/x", "http://***@host/x"),
        ("rtsp://user:pa/sec?r@et@host:554/x", "rtsp://***@host:554/x"),
        ("rtsp://token@host/x", "rtsp://***@host/x"),
        ("http://10.0.0.3:8080/video", "http://10.0.0.3:8080/video"),
        ("http://10.0.0.3:8080/a@b", "http://***@b"),
        ("http://host/x?user=admin&pwd=secret&channel=1", "http://host/x?user=***&pwd=***&channel=1"),
        ("rtsp://h:554/user=admin&password=secret&channel=1", "rtsp://h:554/user=***&password=***&channel=1"),
        ("http://h/user=admin_password=x_y_channel=2_stream=0.sdp", "http://h/user=***_channel=2_stream=0.sdp"),
        ("http://h:81/a.cgi?loginuse=admin&loginpas=888888", "http://h:81/a.cgi?loginuse=***&loginpas=***"),
        ("rtsp://admin:2024#Cam@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("rtsp://user:p@ss/w#rd?@host/live", "rtsp://***@host/live"),
        ("https://h/x?access_token=abc#part", "https://h/x?access_token=***"),
        ("https://h/x?abcdef", "https://h/x?***"),
        ("https://h/x?pwd=a/b&c=d", "https://h/x?pwd=***&***"),
        ("http://h/x?side=left&channel=1&channel=1%20a", "http://h/x?side=left&channel=1&***"),
        ("http://h/live#secret", "http://h/live#***"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert open_source(f" {url}").name == shown


@pytest.mark.parametrize("url", ["rtps://user:secret@h/x", "rtsp:/user:secret@h/x", "mms://user:secret@h"])
def test_an_address_of_an_unknown_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SourceError, match="unknown kind of address; expected rtsp://") as caught:
        open_source(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0", "camera 0"),
        (0, "camera 0"),
        ("12", "camera 12"),
        ("/dev/video9", "/dev/video9"),
        ("/dev/v4l/by-id/usb-Maker_Camera-video-index0", "/dev/v4l/by-id/usb-Maker_Camera-video-index0"),
    ],
)
def test_a_number_or_a_device_is_a_camera(text: str | int, name: str) -> None:
    source = open_source(text)
    assert (source.name, source.live, source.many_files, source.paths) == (name, True, False, ())


@pytest.mark.parametrize("text", ["/dev/shm/mmpnet-no-such.jpg", "/dev/shm/mmpnet-no-such-*.jpg"])
def test_a_folder_in_memory_is_not_a_camera(text: str) -> None:
    with pytest.raises(SourceError, match=r"no such file|the pattern has 0"):
        open_source(text)


@pytest.mark.parametrize("opened", [True, False])
def test_a_stream_that_gives_no_frame_in_time_is_opened_with_more_patience(
    monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    """The key frame comes later than FFmpeg's timeout."""
    monkeypatch.setattr("mmpnet.runtime.sources.live.DAMAGED_S", 0.01)
    monkeypatch.setattr("mmpnet.runtime.sources.video_capture.DAMAGED_S", 0.01)

    class Silent(FakeCapture):
        def grab(self) -> bool:
            time.sleep(0.02)
            return False

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            time.sleep(0.02)
            return self.opened

    def source(*, answers: bool) -> LiveSource:
        return LiveSource(
            "rtsp://x",
            Plug(Silent([], opened=opened)),
            LiveOptions(reconnect=False, first_frame_s=0.05),
            is_stream=True,
            why_unopened=lambda: "no key frame",
            connect_patiently=Plug(FakeCapture([frame(1), frame(2)])),
            answers=lambda: answers,
        )

    assert collect(source(answers=True), 2)[0] == [1, 2]
    with pytest.raises(SourceError, match="no key frame"):
        collect(source(answers=False), 1)


def test_the_reason_of_a_lost_stream_tells_silence_from_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = LiveSource("http://x", Plug(FakeCapture([frame(1)])), LiveOptions(reconnect=False), is_stream=True)
    with pytest.raises(SourceError, match="no frame after 1; its server ended the connection"):
        collect(ended, 2)
    monkeypatch.setattr("mmpnet.runtime.sources.live.DAMAGED_S", 0.0)
    silent = LiveSource("http://x", Plug(FakeCapture([frame(1)])), LiveOptions(reconnect=False), is_stream=True)
    with pytest.raises(SourceError, match="no frame after 1; nothing for 0 s; check its power"):
        collect(silent, 2)


@pytest.mark.parametrize(("stale_after_s", "timeout_ms"), [(0.5, 5_000), (20.0, 20_000)])
def test_timeouts_of_a_stream_follow_the_options(
    monkeypatch: pytest.MonkeyPatch, stale_after_s: float, timeout_ms: int
) -> None:
    asked: list[list[int]] = []

    def opened(url: str, backend: int, options: list[int]) -> FakeCapture:
        assert (url, backend) == ("rtsp://h/X", cv2.CAP_FFMPEG), "FFmpeg knows the scheme in lower case only"
        asked.append(options)
        return FakeCapture([frame(number) for number in range(20)], period_s=0.03)  # a camera that is waited for

    monkeypatch.setattr(cv2, "VideoCapture", opened)
    source = stream_source("RTSP://h/X", LiveOptions(stale_after_s=stale_after_s, first_frame_s=40.0))
    collect(source, 1)
    assert source.connect_patiently is not None
    source.connect_patiently()
    assert asked == [
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait_ms, cv2.CAP_PROP_N_THREADS, 1]
        for wait_ms in (timeout_ms, 40_000)
    ]


class FFmpegCapture(FakeCapture):
    def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
        return "FFMPEG"


def test_frames_that_were_not_decoded_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an OpenCV that fails its self-test, equal first images may come from anywhere in the memory."""
    monkeypatch.setattr("mmpnet.runtime.sources.live.decoder_fault", lambda: "OpenCV 0 is bad")
    values = [1, 1, 1, 2, 3, 3, 3, 4]
    moving = LiveSource("rtsp://x", Plug(FFmpegCapture([frame(value) for value in values])))
    frames = moving.frames(threading.Event(), lambda event: notices.append(event.reason))
    notices: list[str] = []
    taken = [next(frames) for _ in values]
    assert [int(one.pixels_bgr[0, 0, 0]) for one in taken if not one.repeated] == [1, 2, 3, 4]
    assert notices[1:] == [
        "rtsp://x: repeats frames, which are counted and not processed; OpenCV 0 is bad; "
        "or install PyAV: pip install 'mmpnet[record]'"
    ]
    still = LiveSource("rtsp://x", Plug(FFmpegCapture([frame(1)] * 60)), LiveOptions(reconnect=False))
    events: list[Event] = []
    with pytest.raises(SourceError, match="no frame after 60"):
        assert all(one.repeated for one in still.frames(threading.Event(), events.append))
    assert [event.reason for event in events if event.kind == "notice"] == [
        "rtsp://x: all frames are equal to the byte; OpenCV 0 is bad; or install PyAV: pip install 'mmpnet[record]'"
    ]


def test_packets_before_the_first_key_frame_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV fails for each of them, at once for those that were buffered."""
    monkeypatch.setattr("mmpnet.runtime.sources.live.RETRY_S", 0.001)

    class BeforeKeyFrame(FakeCapture):
        failures: int = 0

        def grab(self) -> bool:
            self.failures += 1
            return self.failures > 127 and super().grab()

    source = LiveSource("rtsp://x", Plug(BeforeKeyFrame([frame(1), frame(2)])), is_stream=True)
    assert collect(source, 2)[0] == [1, 2]
    options = LiveOptions(reconnect=False, first_frame_s=0.05)
    ended = LiveSource("rtsp://x", Plug(FakeCapture([])), options, is_stream=True)
    with pytest.raises(SourceError, match="no frame after 0"):
        collect(ended, 1)


def test_a_clock_that_is_no_longer_used_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera states 25 frames per second in its clock, and sends 21."""
    source, events, now_s = stream_source("rtsp://h/x"), list[Event](), [50.0]

    class Camera:
        """Delivers each frame when the one before was read."""

        count = 0

        def grab(self) -> bool:
            now_s[0] += 1 / 21
            self.count += 1
            return True

        def retrieve(self) -> tuple[bool, np.ndarray]:
            return True, np.full((4, 4, 3), self.count % 250, np.uint8)

        def get(self, prop: int) -> float:
            return {cv2.CAP_PROP_POS_MSEC: self.count * 40.0, cv2.CAP_PROP_FPS: 25.0}.get(prop, 0.0)

        def release(self) -> None:
            pass

    monkeypatch.setattr("mmpnet.runtime.sources.live.time.perf_counter", lambda: now_s[0])
    frames = source._read(Camera(), threading.Event(), events.append, live._SoFar(FrozenFrameDetector(5.0)))
    assert len(list(itertools.islice(frames, 550))) == 550
    told = [event.reason for event in events if "clock" in event.reason]
    assert told == [
        "rtsp://h/x: its clock falls behind steadily: it sends fewer frames than it states, or the network is too "
        "slow; ages no longer include the time in the network"
    ]
