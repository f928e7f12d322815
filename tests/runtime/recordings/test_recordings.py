"""Recordings of people: their length, speed, names, limits, and what happens at midnight and when clocks change."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.media.h264 import ClipFile, EncodedFrame, FrameEncoder
from mmpnet.media.images import read_image
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.recordings.names import began_at, clip_at, recording_path, recordings_in
from mmpnet.runtime.recordings.presence_recorder import PresenceRecorder, RecordTimes
from mmpnet.runtime.recordings.retention import EVERY_S, Keep, Retention, parse_keep
from mmpnet.runtime.sinks.record import RecordSink
from mmpnet.system.trusted_clock import PAUSE_S
from support.results import make_result

av: Any = pytest.importorskip("av", reason="recordings need PyAV: pip install 'mmpnet[record]'")

HW = (48, 64)
NOON = datetime(2026, 7, 1, 12, 0, 0, tzinfo=timezone.utc)
FPS = 5.0
SOON = RecordTimes(before_s=2.0, after_s=1.0, segment_s=600.0)


def frame_number(index: int) -> UInt8Array:
    """A frame whose gray value tells its number."""
    return np.full((*HW, 3), 16 + index * 4 % 220, np.uint8)


def times_of(path: Path) -> list[float]:
    """The times of a clip's frames in s, as a player shows them."""
    with av.open(str(path)) as clip:
        return [frame.time for frame in clip.decode(video=0)]


def grays_of(path: Path) -> list[int]:
    with av.open(str(path)) as clip:
        return [int(np.median(frame.to_ndarray(format="bgr24"))) for frame in clip.decode(video=0)]


def record(
    folder: Path, present: list[bool], times: RecordTimes = SOON, *, steps_s: list[float] | None = None
) -> list[Path]:
    """Record frames, 5 per second unless steps_s says otherwise; returns the clips in order."""
    recorder = PresenceRecorder(lambda began: recording_path(folder, "yard", began, suffix=".mp4"), times)
    folder.mkdir(exist_ok=True)
    (folder / "yard").mkdir(exist_ok=True)
    at_s = 0.0
    for index, somebody in enumerate(present):
        at_s += 1 / FPS if steps_s is None else steps_s[index]
        at = NOON + timedelta(seconds=at_s)
        (folder / "yard" / f"{at.astimezone():%Y-%m-%d}").mkdir(exist_ok=True)
        recorder.add(frame_number(index), 1000 + at_s, at, present=somebody, fps=FPS)
    recorder.close()
    return sorted(one.path for one in recordings_in(folder))


# --- clips ---


def test_a_clip_has_the_seconds_before_a_person_and_after(tmp_path: Path) -> None:
    somebody = [60 <= index < 80 for index in range(200)]
    (clip,) = record(tmp_path / "rec", somebody)
    grays = grays_of(clip)
    first = 85 - len(grays)  # it ends five frames, one second, after the person
    assert 44 <= first <= 50, "two seconds before, and up to a second more to a key frame"
    assert max(abs(gray - (16 + index * 4 % 220)) for index, gray in enumerate(grays, first)) <= 6
    assert began_at(clip) == NOON.replace(microsecond=0) + timedelta(seconds=(first + 1) // FPS)


def test_nobody_is_no_clip(tmp_path: Path) -> None:
    assert record(tmp_path / "rec", [False] * 100) == []


def test_a_person_who_hides_for_a_moment_is_one_clip_and_two_visits_are_two(tmp_path: Path) -> None:
    hides = [index < 10 or 13 <= index < 20 for index in range(40)]
    assert len(record(tmp_path / "hides", hides)) == 1
    comes_again = [index < 10 or 40 <= index < 50 for index in range(80)]
    assert len(record(tmp_path / "again", comes_again)) == 2


def test_speed_and_length_are_those_of_the_camera_even_if_its_rate_changes(tmp_path: Path) -> None:
    steps_s = [0.1] * 40 + [0.5] * 20 + [0.04] * 40
    (clip,) = record(tmp_path / "rec", [True] * 100, steps_s=steps_s)
    shown = np.array(times_of(clip))
    np.testing.assert_allclose(shown, np.cumsum(steps_s) - steps_s[0], atol=0.002)
    with av.open(str(clip)) as opened:
        assert opened.duration / av.time_base == pytest.approx(sum(steps_s) - 0.1 + 0.2, abs=0.01)


def test_a_long_visit_is_cut_into_segments_without_losing_a_frame(tmp_path: Path) -> None:
    clips = record(tmp_path / "rec", [True] * 100, replace(SOON, segment_s=5.0))
    assert len(clips) == 4
    grays = [gray for clip in clips for gray in grays_of(clip)]
    assert len(grays) == 100
    assert max(abs(gray - (16 + index * 4 % 220)) for index, gray in enumerate(grays)) <= 6


def test_browsers_play_it_and_its_index_comes_first(tmp_path: Path) -> None:
    (clip,) = record(tmp_path / "rec", [True] * 30)
    with av.open(str(clip)) as opened:
        stream = opened.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    content = clip.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    capture = cv2.VideoCapture(str(clip))
    assert capture.read()[0], "and OpenCV"


def test_a_clip_that_a_kill_has_cut_short_is_readable(tmp_path: Path) -> None:
    encoder = FrameEncoder(HW, fps=FPS)
    clip = ClipFile(tmp_path / "cut.mp4", frame_hw=HW, fps=FPS)
    for index in range(40):
        clip.write(encoder.encode(frame_number(index), index / FPS))
    killed = tmp_path / "killed.mp4"
    killed.write_bytes((tmp_path / "cut.mp4").read_bytes())
    assert len(times_of(killed)) >= 40 - 2 * FPS, "all but the last second or two"
    clip.close()
    assert len(times_of(tmp_path / "cut.mp4")) == 40


def test_another_frame_size_starts_another_clip(tmp_path: Path) -> None:
    paths: list[Path] = []

    def new_path(began: datetime) -> Path:
        del began
        paths.append(tmp_path / f"{len(paths)}.mp4")
        return paths[-1]

    recorder = PresenceRecorder(new_path, SOON)
    for index in range(20):
        size = (48, 64, 3) if index < 10 else (33, 51, 3)
        recorder.add(np.zeros(size, np.uint8), index / FPS, NOON, present=True, fps=FPS)
    recorder.close()
    assert [len(times_of(path)) for path in paths] == [10, 10]


def test_what_is_kept_in_memory_is_bounded() -> None:
    recorder = PresenceRecorder(lambda _: Path("never.mp4"), SOON)
    rng = np.random.default_rng(0)
    for index in range(200):
        frame_bgr = rng.integers(0, 256, (*HW, 3), np.uint8)
        recorder.add(frame_bgr, index / FPS, NOON, present=False, fps=FPS)
        assert len(recorder._before) <= FPS * (SOON.before_s + 1) + 1
    assert recorder._before_bytes == sum(len(one.content) for one in recorder._before)


# --- the sink ---


def seen(index: int, *, people: int, confirmed: bool = True, stream: int = 0) -> Result:
    rng = np.random.default_rng(index)
    boxes = np.tile(np.array([[10, 10, 30 + index % 5, 40]], np.float32), (people, 1))
    found = Detections(boxes, np.full(people, 0.9, np.float32), np.ones(people, np.int64))
    result = make_result(rng.integers(0, 256, (*HW, 3), np.uint8), source="front door", kind="camera", detections=found)
    tracks = Tracks(np.arange(1, people + 1), None, lambda *_: None, confirmed=np.full(people, confirmed))
    frame = replace(
        result.frame, captured_s=index / FPS, captured_at=NOON + timedelta(seconds=index / FPS), fps=FPS, stream=stream
    )
    return replace(result, frame=frame, tracks=tracks)


def sink_in(folder: Path, **options: Any) -> RecordSink:
    return RecordSink(
        folder, ("background", "person"), times=options.pop("times", SOON), keep=options.pop("keep", Keep()), **options
    )


def test_the_sink_writes_dated_clips_and_the_best_image_of_each_person(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    for index in range(60):
        sink.write(seen(index, people=2 if 20 <= index < 30 else 0), None)
    sink.close()
    found = sorted(recordings_in(tmp_path), key=lambda one: one.path.name)
    assert [one.is_clip for one in found].count(True) == 1
    day = f"{NOON.astimezone():%Y-%m-%d}"
    assert {one.path.parent for one in found} == {tmp_path / "front-door" / day}
    crops = [one.path for one in found if not one.is_clip]
    assert [path.stem[-9:] for path in crops] == ["-person-1", "-person-2"]
    assert read_image(crops[0]).shape[0] >= 30


def test_a_track_that_is_not_confirmed_is_no_reason_to_record(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    for index in range(30):
        sink.write(seen(index, people=1, confirmed=False), None)
    sink.close()
    assert list(recordings_in(tmp_path)) == []


def test_what_is_pixelated_for_the_sinks_is_pixelated_in_the_clip_and_there_are_no_crops(tmp_path: Path) -> None:
    sink = sink_in(tmp_path, crops=False)
    for index in range(30):
        result = seen(index, people=1)
        flat = np.full((*HW, 3), 77, np.uint8)
        sink.write(replace(result, frame=replace(result.frame, pixels_bgr=flat)), None)
    sink.close()
    (clip,) = recordings_in(tmp_path)
    assert {abs(gray - 77) <= 6 for gray in grays_of(clip.path)} == {True}


def test_a_clip_that_cannot_be_written_is_reported_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_in(tmp_path)

    tried = threading.Semaphore(0)

    def full(*_: object, **__: object) -> None:
        tried.release()
        raise OutputError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("mmpnet.runtime.recordings.presence_recorder.ClipFile", full)
        for index in range(10):
            assert sink.write(seen(index, people=1), None)
        assert all(tried.acquire(timeout=60) for _ in range(10))
    assert caplog.text.count("the disk is full") == 1
    for index in range(10, 30):
        sink.write(seen(index, people=1), None)
    sink.close()
    assert any(one.is_clip for one in recordings_in(tmp_path)), "it records again as soon as it can"


def test_the_run_never_waits_for_the_encoder_and_frames_that_are_left_out_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoding, goes_on, encode = threading.Event(), threading.Event(), FrameEncoder.encode

    def slow(encoder: FrameEncoder, *arguments: Any, **options: Any) -> EncodedFrame:
        encoding.set()
        assert goes_on.wait(60)
        return encode(encoder, *arguments, **options)

    monkeypatch.setattr(FrameEncoder, "encode", slow)
    sink = sink_in(tmp_path, most_waiting_bytes=10 * 3 * HW[0] * HW[1])
    sink.write(seen(0, people=1), None)
    assert encoding.wait(60)
    for index in range(1, 31):
        assert sink.write(seen(index, people=1), None)
    goes_on.set()
    sink.close()
    (clip,) = [one.path for one in recordings_in(tmp_path) if one.is_clip]
    assert times_of(clip) == pytest.approx([index / FPS for index in range(11)], abs=1e-3), (
        "one and the ten that waited"
    )
    assert caplog.text.count("frames are left out of the recording, as this machine encodes too slowly") == 1
    assert "front door: 20 frames left out of the recording" in caplog.text


def test_no_frame_waits_until_a_long_clip_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third_clip, finished = threading.Event(), threading.Event()
    write, close = ClipFile.write, ClipFile.close
    written: set[Path] = set()

    def slow_close(clip: ClipFile) -> None:
        assert finished.wait(60)
        close(clip)

    def seen_write(clip: ClipFile, frame: EncodedFrame) -> None:
        write(clip, frame)
        written.add(clip.path)
        if len(written) == 3:
            third_clip.set()

    monkeypatch.setattr(ClipFile, "close", slow_close)
    monkeypatch.setattr(ClipFile, "write", seen_write)
    sink = sink_in(tmp_path, times=RecordTimes(before_s=1.0, after_s=1.0, segment_s=2.0))
    for index in range(25):
        assert sink.write(seen(index, people=1), None)
    assert third_clip.wait(60), "it is written while the first one is not finished"
    finished.set()
    sink.close()
    clips = [one.path for one in recordings_in(tmp_path) if one.is_clip]
    assert sorted(len(times_of(path)) for path in clips) == [5, 10, 10]


def test_an_unexpected_fault_of_the_recording_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FrameEncoder, "encode", fault)
    sink = sink_in(tmp_path)
    sink.write(seen(0, people=1), None)
    with pytest.raises(ZeroDivisionError):
        sink.close()


# --- names, midnight and clock changes ---


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone whose clocks are set back on 2026-10-25 at 3:00."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def named(folder: Path, began: datetime, size_bytes: int = 10) -> Path:
    """A clip of the front door with this beginning, written for ten seconds."""
    path = recording_path(folder, "front-door", began, suffix=".mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size_bytes))
    os.utime(path, (began.timestamp() + 10, began.timestamp() + 10))
    return path


@pytest.mark.usefixtures("berlin")
def test_a_day_of_clips_has_unique_names_in_order_across_midnight_and_the_hour_that_comes_twice(tmp_path: Path) -> None:
    start = datetime(2026, 10, 24, 20, 0, tzinfo=timezone.utc)
    moments = [start + timedelta(minutes=15 * step) for step in range(4 * 28)]
    paths = [named(tmp_path, moment) for moment in moments]
    assert len(set(paths)) == len(moments)
    assert {path.parent.name for path in paths} == {"2026-10-24", "2026-10-25", "2026-10-26"}
    assert [began_at(path) for path in paths] == moments, "each name tells its moment"
    twice = [path.name for path in paths if "2026-10-25T02-30-00" in path.name]
    assert sorted(twice) == ["front-door-2026-10-25T02-30-00+0100.mp4", "front-door-2026-10-25T02-30-00+0200.mp4"]
    for moment, path in zip(moments, paths, strict=True):
        assert clip_at(tmp_path, "front-door", moment + timedelta(seconds=5)) == path
        assert clip_at(tmp_path, "front-door", moment + timedelta(minutes=5)) is None


def test_two_clips_of_one_second_do_not_replace_each_other(tmp_path: Path) -> None:
    first, second = named(tmp_path, NOON), named(tmp_path, NOON)
    assert first != second
    assert began_at(first) == began_at(second) == NOON


# --- limits ---


class Clock:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self, began: datetime) -> None:
        self.wall_s = began.timestamp()
        self.mono_s = 50.0

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.mono_s += seconds

    def retention(self, folder: Path, *limits: str) -> Retention:
        return Retention(folder, parse_keep(limits), wall=lambda: self.wall_s, monotonic=lambda: self.mono_s)


@pytest.mark.parametrize(
    ("texts", "keep"),
    [
        ([], Keep()),
        (["14d"], Keep(age_s=14 * 86400)),
        (["20GB", "36h"], Keep(age_s=36 * 3600, size_bytes=20 * 10**9)),
        (["1.5 TB"], Keep(size_bytes=1_500_000_000_000)),
    ],
)
def test_limits_are_ages_and_sizes(texts: list[str], keep: Keep) -> None:
    assert parse_keep(texts) == keep


@pytest.mark.parametrize("texts", [["14"], ["0d"], ["14d", "2w"], ["20GB", "1TB"], ["20gb"], ["-1d"], ["d"]])
def test_other_limits_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected an age such as 14d|another limit of this kind"):
        parse_keep(texts)


def test_over_twenty_days_there_are_never_more_than_fourteen(tmp_path: Path) -> None:
    clock = Clock(NOON)
    retention = clock.retention(tmp_path, "14d")
    for _ in range(20 * 24):
        named(tmp_path, datetime.fromtimestamp(clock.wall_s, timezone.utc))
        retention.tick()
        clock.pass_s(3600)
    left = list(recordings_in(tmp_path))
    assert len(left) == 14 * 24 + 1
    assert min(one.began for one in left) == NOON + timedelta(days=6, hours=-1)
    assert len(list((tmp_path / "front-door").iterdir())) <= 15, "empty days are removed"


def test_the_oldest_go_when_there_is_too_much_and_files_of_others_and_the_current_clip_stay(tmp_path: Path) -> None:
    clock = Clock(NOON + timedelta(days=1))
    paths = [named(tmp_path, NOON + timedelta(minutes=step), 400_000) for step in range(10)]
    for name in ("notes.txt", "front-door/2026-07-01/holiday.mp4", "front-door/plan.jpg"):
        (tmp_path / name).write_bytes(bytes(5_000_000))
    assert clock.retention(tmp_path, "1MB").tick(in_use={paths[0]}) == paths[1:8]
    assert sorted(one.path for one in recordings_in(tmp_path)) == [paths[0], *paths[8:]]
    assert (tmp_path / "front-door/2026-07-01/holiday.mp4").exists()


def test_limits_are_applied_once_a_minute(tmp_path: Path) -> None:
    clock = Clock(NOON + timedelta(days=30))
    retention = clock.retention(tmp_path, "14d")
    assert retention.tick() == []
    old = named(tmp_path, NOON)
    clock.pass_s(EVERY_S / 2)
    assert retention.tick() == []
    clock.pass_s(EVERY_S / 2)
    assert retention.tick() == [old]


def test_a_clock_that_jumps_into_the_future_deletes_nothing_for_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(NOON)
    retention = clock.retention(tmp_path, "14d")
    path = named(tmp_path, NOON)
    retention.tick()
    clock.wall_s += 400 * 86400
    clock.pass_s(EVERY_S)
    assert retention.tick() == []
    assert "the clock jumped by +9600.0 h" in caplog.text
    clock.wall_s -= 400 * 86400  # the mistake is mended
    clock.pass_s(EVERY_S)
    assert retention.tick() == []
    clock.pass_s(PAUSE_S)
    assert retention.tick() == []
    clock.pass_s(14 * 86400)
    assert retention.tick() == [path]


def test_a_start_with_a_clock_that_is_a_year_ahead_deletes_nothing(tmp_path: Path) -> None:
    """As on a Raspberry Pi without a battery for its clock, which finds a time server a minute later."""
    clock = Clock(NOON)
    path = named(tmp_path, NOON)
    assert clock.retention(tmp_path, "14d").tick() == []
    for _ in range(3):
        clock.pass_s(3600)
        clock.wall_s += 365 * 86400
        started = clock.retention(tmp_path, "14d")
        assert started.tick() == []
        clock.wall_s -= 365 * 86400
        clock.pass_s(EVERY_S)
        assert started.tick() == []
    assert path.exists()
    clock.pass_s(3 * 86400)  # the computer is off
    assert clock.retention(tmp_path, "14d").tick() == []
    clock.pass_s(3 * 86400)
    assert clock.retention(tmp_path, "5d").tick() == [], "more than a quarter of the limit is not believed at once"
    clock.pass_s(1 * 86400)
    assert clock.retention(tmp_path, "6d").tick() == []


def test_an_hour_more_or_less_in_spring_and_autumn_is_no_jump(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # The clock of the system counts in UTC, so setting local clocks does not move it.
    clock = Clock(datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc))
    retention = clock.retention(tmp_path, "1h")
    path = named(tmp_path, datetime.fromtimestamp(clock.wall_s, timezone.utc))
    for _ in range(59):
        clock.pass_s(60)
        assert retention.tick() == []
    clock.pass_s(120)
    assert retention.tick() == [path]
    assert "jumped" not in caplog.text
