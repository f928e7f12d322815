"""What odd videos are made of: number of frames, order, times and lengths, not only exit codes."""

import subprocess
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from adversity.odd_videos import COUNT, INTERLACED, VIDEOS, cut, ffmpeg, number_in
from mmpnet.contract.errors import SourceError
from mmpnet.media.decoder_check import decoder_fault
from mmpnet.media.second_decoder import second_decoder_works
from mmpnet.runtime.analytics.tracker import Tracker
from mmpnet.runtime.sinks.video import SaveSink
from mmpnet.runtime.sources.frame import Event, Frame
from mmpnet.runtime.sources.open import open_source
from support.frames import read_video
from support.results import make_result

Make = Callable[[str], Path]
ALL = list(range(COUNT))
UNEVEN = [*range(20), 20, 30, 40, *range(50, COUNT)]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes an odd video by its name."""
    folder = tmp_path_factory.mktemp("odd")
    return lambda name: VIDEOS[name](folder)


def read(path: Path, *, stride: int = 1) -> tuple[list[Frame], list[str]]:
    """The frames of a video, and the notices about it."""
    events: list[Event] = []
    frames = list(open_source(str(path), stride=stride).frames(threading.Event(), events.append))
    return frames, [event.reason for event in events]


@pytest.mark.parametrize(
    ("name", "numbers", "times_s"),
    [
        ("plain.mp4", ALL, [n / 10 for n in ALL]),
        ("uneven.mp4", UNEVEN, [n / 10 for n in UNEVEN]),
        ("uneven.webm", UNEVEN, [n / 10 for n in UNEVEN]),
        ("gap.mp4", ALL, [n / 10 + 300 * (n >= 30) for n in ALL]),
        ("slow.mp4", ALL[:6], [2.5 * n for n in range(6)]),
        ("sound.mkv", ALL, [n / 10 for n in ALL]),
        ("offset.mkv", ALL, [n / 10 for n in ALL]),
        ("plain.avi", ALL, [n / 10 for n in ALL]),
        ("plain.ts", ALL, [n / 10 for n in ALL]),
        ("parts.mp4", ALL, [n / 10 for n in ALL]),
        ("joined.ts", [*ALL, *ALL], [n / 10 for n in range(2 * COUNT)]),
        ("ten-bit.mkv", ALL, [n / 10 for n in ALL]),
        ("turned.mp4", None, [n / 10 for n in ALL]),
    ],
)
def test_every_frame_comes_once_at_its_time(
    make: Make, name: str, numbers: list[int] | None, times_s: list[float]
) -> None:
    frames, _ = read(make(name))
    if numbers is not None:
        assert [number_in(frame.pixels_bgr) for frame in frames] == numbers
    assert [frame.source_time_s for frame in frames] == pytest.approx(times_s, abs=2e-3)


def test_a_raw_stream_has_no_times_so_its_stated_rate_counts(make: Make) -> None:
    frames, _ = read(make("raw.h264"))
    assert [number_in(frame.pixels_bgr) for frame in frames] == ALL
    steps_s = np.diff([frame.source_time_s for frame in frames])
    assert steps_s == pytest.approx(1 / frames[0].fps)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.mpg"])
def test_interlaced_video_gives_its_own_images_or_an_error(make: Make, name: str) -> None:
    if decoder_fault() is None or second_decoder_works():
        frames, _ = read(make(name))
        numbers = [number_in(frame.pixels_bgr) for frame in frames]
        assert sorted(set(numbers)) == ALL
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.mpg"])
def test_without_a_second_decoder_interlaced_video_is_an_error(
    make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpnet.runtime.sources.repeated_frames.second_decoder_works", lambda: False)
    if decoder_fault() is None:
        assert len(read(make(name))[0]) == COUNT
        return
    seen: list[Frame] = []
    with pytest.raises(
        SourceError, match=r"all \d+ frames are equal to the byte; OpenCV .* does not decode interlaced"
    ):
        seen.extend(open_source(str(make(name))))
    assert seen == []


def test_interlaced_frames_within_a_video_are_its_own(make: Make) -> None:
    frames, _ = read(make("partly.mkv"))
    assert [number_in(frame.pixels_bgr) for frame in frames] == ALL


def test_without_a_second_decoder_repeated_frames_within_a_video_are_counted(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpnet.runtime.sources.repeated_frames.second_decoder_works", lambda: False)
    if decoder_fault() is None:
        assert [number_in(frame.pixels_bgr) for frame in read(make("partly.mkv"))[0]] == ALL
        return
    seen: list[int] = []
    with pytest.raises(SourceError, match=f"{len(INTERLACED)} frames of {COUNT} may not be decoded"):
        seen.extend(number_in(frame.pixels_bgr) for frame in open_source(str(make("partly.mkv"))))
    assert seen == [INTERLACED[0] - 1 if number in INTERLACED else number for number in ALL]


def test_the_clip_of_the_self_test_is_the_shipped_one(make: Make) -> None:
    """Other versions of FFmpeg may encode it to other bytes, so what it shows is compared."""
    shipped = Path(str(files("mmpnet.media") / "interlaced.mkv"))
    probes = [
        subprocess.run(
            [ffmpeg(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"],
            capture_output=True,
            check=True,
        ).stdout
        for path in (shipped, make("interlaced.mkv"))
    ]
    grays = [np.frombuffer(one, np.uint8).reshape(4, -1).mean(axis=1) for one in probes]
    assert grays[0] == pytest.approx(grays[1], abs=2)


def test_pixels_that_are_not_square_are_stretched_and_that_is_said(make: Make) -> None:
    path = make("wide.mp4")
    frames, notices = read(path)
    assert {frame.pixels_bgr.shape for frame in frames} == {(48, 128, 3)}
    assert [number_in(frame.pixels_bgr) for frame in frames] == ALL
    assert notices == [f"{path}: its pixels are 1.33 times as wide as high, so frames are stretched to 128x48 px"]


def test_a_turned_video_is_upright(make: Make) -> None:
    """The bits of the numbers lie at the left, so after a quarter turn they lie at the top or at the bottom."""
    frames, _ = read(make("turned.mp4"))
    assert {frame.pixels_bgr.shape for frame in frames} == {(96, 48, 3)}
    quarter = [np.ascontiguousarray(np.rot90(frame.pixels_bgr, turns)) for frame in frames[:1] for turns in (1, 3)]
    assert 0 in map(number_in, quarter)
    assert sorted({number_in(np.ascontiguousarray(np.rot90(frame.pixels_bgr))) for frame in frames}) in (
        ALL,
        sorted(int(f"{number:08b}"[::-1], 2) for number in ALL),
    )


def test_an_edited_video_is_not_called_cut_short(make: Make) -> None:
    """An edit list hides the frames before its start; the index still states them."""
    frames, _ = read(make("edited.mp4"))
    assert number_in(frames[-1].pixels_bgr) == COUNT - 1
    assert frames[0].source_time_s == 0


@pytest.mark.parametrize("name", ["sound.mkv", "offset.mkv", "edited.mp4", "uneven.webm", "plain.avi", "gap.mp4"])
def test_a_whole_file_is_not_called_incomplete(make: Make, name: str) -> None:
    assert read(make(name))[1] == []


def test_frames_after_a_damaged_part_are_read(make: Make) -> None:
    """A third of the file is overwritten; the frames before and after it remain."""
    whole = make("plain.ts")
    content = bytearray(whole.read_bytes())
    third = len(content) // 3
    content[third : third + third // 2] = bytes(third // 2)
    damaged = whole.with_name("damaged.ts")
    damaged.write_bytes(content)
    numbers: list[int] = []
    events: list[Event] = []
    told: list[str] = []
    try:
        frames = open_source(str(damaged)).frames(threading.Event(), events.append)
        numbers.extend(number_in(frame.pixels_bgr) for frame in frames)
    except SourceError as error:
        told.append(str(error))
    assert any("damaged" in reason for reason in [*told, *(event.reason for event in events)])
    assert numbers[:10] == ALL[:10]
    assert numbers[-5:] == ALL[-5:]


@pytest.mark.parametrize(
    ("name", "part"), [("plain.mkv", 0.7), ("plain.avi", 0.3), ("front.mp4", 0.9), ("parts.mp4", 0.9)]
)
def test_a_file_without_its_end_is_an_error_after_its_frames(make: Make, name: str, part: float) -> None:
    numbers: list[int] = []
    frames = open_source(str(cut(make(name), part)))
    reasons = r"the file is truncated: \d+ bytes are missing|skipped \d+ damaged frames?, read \d+;"
    with pytest.raises(SourceError, match=reasons):
        numbers.extend(number_in(frame.pixels_bgr) for frame in frames)
    assert 10 < len(numbers) < COUNT
    assert numbers[:10] == ALL[:10]


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.webm", "gap.mp4", "slow.mp4", "plain.avi", "plain.mp4"])
def test_a_saved_video_is_as_long_as_its_source(make: Make, tmp_path: Path, name: str) -> None:
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    frames, _ = read(make(name))
    for index, frame in enumerate(frames):
        result = make_result(frame.pixels_bgr, index=index)
        sink.write(result.__class__(frame, result.detections, result.all_detections, result.times), frame.pixels_bgr)
    sink.close()
    saved = read_video(tmp_path / "out.avi")
    assert len(saved) / frames[0].fps == pytest.approx(frames[-1].source_time_s + 1 / frames[0].fps, abs=0.11)
    seen = [number_in(frame) for frame in saved]
    assert sorted(set(seen)) == sorted({number_in(frame.pixels_bgr) for frame in frames}), "no frame is lost"
    assert seen == sorted(seen)


def test_every_other_frame_keeps_its_time(make: Make) -> None:
    frames, _ = read(make("plain.mp4"), stride=2)
    assert [number_in(frame.pixels_bgr) for frame in frames] == ALL[::2]
    assert [frame.source_time_s for frame in frames] == pytest.approx([n / 5 for n in range(COUNT // 2)])
    assert frames[0].fps == pytest.approx(5)


def test_nobody_is_followed_over_a_gap_of_five_minutes(make: Make) -> None:
    frames, _ = read(make("gap.mp4"))
    standing = make_result(frames[0].pixels_bgr).detections.__class__(
        np.array([[10, 5, 30, 45]], np.float32), np.array([0.9], np.float32), np.array([1])
    )
    tracker = Tracker(frame_rate=frames[0].fps)
    ids = [int(tracker.update(standing, time_s=frame.clock_s)[0]) for frame in frames]
    assert ids == [-1, *[1] * 29, -1, *[2] * 29]
