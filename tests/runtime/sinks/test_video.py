"""Saved images and videos show what was displayed, in real time, and recordings are never lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.media.images import read_image
from mmpnet.media.pixelate import TILES, blur_detections
from mmpnet.media.video_writer import LEAST_FREE_BYTES, VideoFile
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sinks.crops import CropSink
from mmpnet.runtime.sinks.video import SaveSink
from mmpnet.runtime.sources.frame import Kind
from support.frames import frame_indices, make_noise, read_video
from support.results import make_result


def boxes(*xyxy: tuple[float, float, float, float]) -> Detections:
    count = len(xyxy)
    return Detections(np.array(xyxy, np.float32), np.linspace(0.9, 0.5, count, dtype=np.float32), np.ones(count, int))


def gray(value: int, size_hw: tuple[int, int] = (48, 64)) -> UInt8Array:
    return np.full((*size_hw, 3), value, np.uint8)


def at(result: Result, captured_s: float) -> Result:
    """The same frame, grabbed at another time."""
    return replace(result, frame=replace(result.frame, captured_s=captured_s))


def test_a_live_recording_runs_at_the_speed_of_life(tmp_path: Path) -> None:
    """At 10 fps, a frame is repeated until the next one comes, and one that comes too soon is left out."""
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    for value, captured_s in ((1, 50.0), (2, 50.1), (9, 50.12), (3, 50.4), (9, 50.41), (4, 50.5)):
        frame = gray(12 * value)
        sink.write(at(make_result(frame, kind="camera", source="camera 0"), captured_s), frame)
    sink.close()
    assert frame_indices(read_video(tmp_path / "out.avi")) == [1, 2, 2, 2, 3, 4]


def test_an_hour_without_frames_is_a_second_of_video(tmp_path: Path) -> None:
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    for value, captured_s in ((1, 0.0), (2, 3600.0), (3, 3600.1), (4, 3600.2)):
        frame = gray(12 * value)
        sink.write(at(make_result(frame, kind="camera", source="camera 0"), captured_s), frame)
    sink.close()
    assert frame_indices(read_video(tmp_path / "out.avi")) == [*[1] * 11, 2, 3, 4]


def test_a_slow_camera_is_recorded_at_its_own_pace(tmp_path: Path) -> None:
    """A frame every 2.5 s is no gap while the source is not stale."""
    sink = SaveSink(tmp_path / "out.avi", many_files=False, stale_after_s=3.0)
    for value, captured_s in ((1, 0.0), (2, 2.5), (3, 5.0)):
        frame = gray(12 * value)
        sink.write(at(make_result(frame, kind="camera", source="camera 0"), captured_s), frame)
    sink.close()
    assert frame_indices(read_video(tmp_path / "out.avi")) == [*[1] * 25, *[2] * 25, 3]


def in_file(result: Result, source_time_s: float) -> Result:
    """The same frame, at another time in its file."""
    return replace(result, frame=replace(result.frame, source_time_s=source_time_s))


def test_the_video_of_a_file_has_the_times_of_the_file(tmp_path: Path) -> None:
    """Frames come at uneven times, in a burst, and after five minutes; then the file is repeated."""
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    times = ((1, 0.0), (2, 0.1), (3, 0.4), (4, 300.0), (5, 300.04), (6, 300.05), (7, 300.1), (1, 0.0), (2, 0.1))
    for value, source_time_s in times:
        frame = gray(12 * value)
        sink.write(in_file(make_result(frame, kind="video", source="a.mp4"), source_time_s), frame)
    sink.close()
    seen = frame_indices(read_video(tmp_path / "out.avi"))
    assert seen[:5] == [1, 2, 2, 2, 3]
    assert seen[-6:] == [3, 4, 5, 7, 1, 2], "the sixth frame comes too soon"
    assert len(seen) == 3005


@pytest.mark.parametrize("kind", ["camera", "video"])
def test_a_live_recording_is_cut_into_dated_segments_and_a_file_is_not(tmp_path: Path, kind: Kind) -> None:
    sink = SaveSink(tmp_path / "out.avi", many_files=False, segment_s=1.0)
    for index in range(25):
        frame = gray(9 * index)
        result = at(make_result(frame, kind=kind, source="front door"), index / 10)
        sink.write(in_file(result, index / 10), frame)
    sink.close()
    lengths = [len(read_video(path)) for path in sink.written]
    assert lengths == ([10, 10, 5] if kind == "camera" else [25])
    assert sink.written[0].name == "out.avi"
    assert all(re.fullmatch(r"out-\d{8}-\d{6}(-\d)?\.avi", path.name) for path in sink.written[1:])


def test_no_frame_waits_until_a_segment_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_back, close = threading.Event(), VideoFile.close

    def slow_close(video: VideoFile) -> None:
        assert read_back.wait(60)
        close(video)

    monkeypatch.setattr(VideoFile, "close", slow_close)
    sink = SaveSink(tmp_path / "out.avi", many_files=False, segment_s=1.0)
    for index in range(25):
        frame = gray(9 * index)
        assert sink.write(at(make_result(frame, kind="camera", source="door"), index / 10), frame)
    assert not sink.written
    read_back.set()
    sink.close()
    assert [len(read_video(path)) for path in sink.written] == [10, 10, 5]


def test_a_segment_that_cannot_be_read_back_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = SaveSink(tmp_path / "out.avi", many_files=False, segment_s=1.0)
    monkeypatch.setattr("mmpnet.media.video_writer._count_frames", lambda *_: 1)
    frame = gray(0)
    results = [at(make_result(frame, kind="camera", source="door"), index / 10) for index in range(12)]
    for result in results[:10]:
        sink.write(result, frame)
    with pytest.raises(OutputError, match="1 can be read back"):  # noqa: PT012 - any write after the segment's end may
        sink.write(results[10], frame)
        sink._finisher.shutdown()  # the first segment is finished now
        sink.write(results[11], frame)


def test_each_source_has_a_recording_named_after_it(tmp_path: Path) -> None:
    sink = SaveSink(tmp_path / "out", many_files=True)
    for stream, source in enumerate(("camera 0", "rtsp://user:***@10.0.0.3:554/live?a=b", "../..")):
        result = make_result(gray(0), kind="camera", source=source)
        sink.write(replace(result, frame=replace(result.frame, stream=stream)), gray(0))
    sink.close()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["camera-0.mkv", "camera.mkv", "rtsp-user-10.0.0.3-554-live-a-b.mkv"]


def test_one_camera_that_cannot_be_recorded_leaves_the_other_recordings_whole(tmp_path: Path) -> None:
    """A camera that sends frames of 1x1 px must not end the recording of the door."""
    sink = SaveSink(tmp_path / "out", many_files=True)
    for number in range(5):
        for stream, (source, size_hw) in enumerate((("door", (48, 64)), ("rogue", (1, 1)))):
            result = make_result(gray(0, size_hw), kind="camera", source=source)
            moved = replace(result.frame, stream=stream, captured_s=number / 10)
            assert sink.write(replace(result, frame=moved), gray(24 * number, size_hw))
    with pytest.raises(OutputError, match="too small for a video"):
        sink.close()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["door.mkv"]
    assert len(read_video(tmp_path / "out" / "door.mkv")) == 5


def test_crops_are_cut_from_the_frame_itself(tmp_path: Path) -> None:
    frame = gray(200)
    frame[10:30, 20:40] = 40
    sink = CropSink(tmp_path / "crops", ("background", "person"))
    found = boxes((20, 10, 40, 30), (-5.5, 40, 9.2, 99), (70, 0, 80, 48))
    painted = make_noise(0, (48, 64))
    assert sink.write(make_result(frame, index=7, detections=found), painted)
    assert sink.write(make_result(frame, index=8), painted)
    names = sorted(path.name for path in (tmp_path / "crops").iterdir())
    assert names == ["a-000007-0-person.jpg", "a-000007-1-person.jpg"], "the third lies outside"
    assert sink.count == 2
    assert abs(read_image(tmp_path / "crops" / names[0]).astype(int) - 40).max() < 8
    assert read_image(tmp_path / "crops" / names[1]).shape == (8, 10, 3)


def test_no_crop_no_folder(tmp_path: Path) -> None:
    CropSink(tmp_path / "crops", ("background", "person")).write(make_result(gray(0)), None)
    assert list(tmp_path.iterdir()) == []


def test_a_mosaic_leaves_nothing_of_a_face_and_everything_else() -> None:
    frame = make_noise(3, (240, 320))
    before = frame.copy()
    blur_detections(frame, boxes((100, 40, 180, 200)))
    inside = frame[40:200, 100:180]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= (2 * TILES + 3) * (TILES + 3)
    assert (before[40:200, 100:180] != inside).any(axis=2).mean() > 0.99
    untouched = np.ones((240, 320), bool)
    untouched[24:216, 92:188] = False
    np.testing.assert_array_equal(frame[untouched], before[untouched])


@pytest.mark.parametrize(
    "xyxy",
    [
        (99, 99, 105, 117),
        (-50, -50, 10, 10),
        (5, 5, 5, 5),
        (310, 230, 900, 900),
        (0, 0, 320, 240),
        (8, 8, 9, 200),
        (400, 5, 500, 9),
    ],
)
def test_a_mosaic_takes_any_box(xyxy: tuple[float, float, float, float]) -> None:
    frame = make_noise(3, (240, 320))
    before = frame.copy()
    blur_detections(frame, boxes(xyxy))
    x1, y1, x2, y2 = np.clip(xyxy, 0, (320, 240, 320, 240))
    inside = np.s_[round(y1) : round(y2), round(x1) : round(x2)]
    same = (before[inside] == frame[inside]).all(axis=2)
    assert same.size == 0 or same.mean() < 0.05, "nothing of the raw pixels stands, however small or cut the box"


def test_a_nearly_full_disk_ends_the_video_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = LEAST_FREE_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    for index in range(30):
        sink.write(make_result(gray(0), index=index, kind="video"), gray(0))
    free = LEAST_FREE_BYTES - 1
    with pytest.raises(OutputError, match=r"out\.avi: only 31 MB are free on the disk; the video ends after 30 frames"):
        sink.write(make_result(gray(0), index=30, kind="video"), gray(0))
    sink.close()
    assert len(read_video(tmp_path / "out.avi")) == 30


def test_a_video_that_comes_back_in_part_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(tmp_path / "out.avi", fps=10, frame_hw=(48, 64))
    for _ in range(5):
        video.write(gray(0))
    monkeypatch.setattr(video, "_count", 9)
    with pytest.raises(OutputError, match=r"wrote 9 frames, 5 can be read back; the readable part is in .*partial-"):
        video.close()
    (left,) = tmp_path.glob("out.partial-*.avi")
    assert len(read_video(left)) == 5


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from mmpnet.media.video_writer import VideoFile
video = VideoFile(Path(sys.argv[1]), fps=15, frame_hw=(240, 320))
noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
for number in range(90):
    video.write(np.roll(noise, 3 * number, axis=1))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_killed_run_leaves_a_video_that_can_be_read_and_the_next_run_keeps_it(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    (left,) = tmp_path.glob(f"out.partial-*{suffix}")
    assert len(read_video(left)) > 60, "of 90; what is lost is the last second"
    content = left.read_bytes()
    again = VideoFile(out, fps=15, frame_hw=(48, 64))
    again.write(gray(0))
    again.close()
    assert left.read_bytes() == content
    assert len(read_video(out)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, left.name])


def test_a_full_disk_leaves_the_older_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.avi"
    out.write_bytes(b"yesterday")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=LEAST_FREE_BYTES - 1))
    sink = SaveSink(out, many_files=False)
    with pytest.raises(OutputError, match=r"31 MB are free on the disk; the video is not started"):
        sink.write(make_result(gray(0), kind="video"), gray(0))
    sink.close()
    assert out.read_bytes() == b"yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["out.avi"]
    assert sink.written == []


def test_a_video_without_frames_takes_no_name(tmp_path: Path) -> None:
    out = tmp_path / "out.avi"
    out.write_bytes(b"yesterday")
    VideoFile(out, fps=10, frame_hw=(48, 64)).close()
    assert out.read_bytes() == b"yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["out.avi"]


def test_a_second_video_of_one_name_is_refused_while_the_first_is_written(tmp_path: Path) -> None:
    first = VideoFile(tmp_path / "out.avi", fps=10, frame_hw=(48, 64))
    first.write(gray(0))
    with pytest.raises(OutputError, match=r"out\.avi: another run writes to it"):
        VideoFile(tmp_path / "out.avi", fps=10, frame_hw=(48, 64))
    first.close()
    assert len(read_video(tmp_path / "out.avi")) == 1


def test_live_video_never_replaces_an_earlier_one(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        sink = SaveSink(tmp_path / "out.avi", many_files=False)
        for _ in range(count):
            sink.write(make_result(gray(0), kind="camera", source="camera 0"), gray(0))
        sink.close()
        (written,) = sink.written
        assert written.exists()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert names[-1] == "out.avi"
    assert all(re.fullmatch(r"out-\d{8}-\d{6}(-2)?\.avi", name) for name in names[:2])


def test_a_link_at_the_name_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.avi"
    victim.write_bytes(b"precious")
    (tmp_path / "out.avi").symlink_to(victim)
    video = VideoFile(tmp_path / "out.avi", fps=10, frame_hw=(48, 64))
    video.write(gray(0))
    video.close()
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "out.avi").is_symlink()
