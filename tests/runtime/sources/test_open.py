"""Frames come completely and in order, or with an error that names their source."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.media.images import write_image
from mmpnet.media.video_writer import VideoFile
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.sources.files import FileSource
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.live import LiveSource, camera_source
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import LiveOptions
from mmpnet.runtime.sources.video_capture import FALLBACK_FPS
from support.fake_capture import FakeCapture
from support.frames import frame_indices, make_noise, write_video


class FakeCamera:
    """Replaces cv2.VideoCapture: delivers `count` frames and then none."""

    def __init__(self, index: int, *, count: int, fps: float) -> None:
        self.index, self.count, self.fps, self.released = index, count, fps, False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return self.fps

    def set(self, _prop: int, _value: float) -> bool:
        return False

    def grab(self) -> bool:
        self.count -= 1
        return self.count >= 0

    def retrieve(self) -> tuple[bool, UInt8Array]:
        return True, np.full((6, 8, 3), self.count, np.uint8)

    def release(self) -> None:
        self.released = True


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, make_noise(0, (21, 33)))
    source = open_source(str(path))
    frames = list(source)
    assert (source.live, source.many_files) == (False, False)
    assert len(frames) == 1
    np.testing.assert_array_equal(frames[0].pixels_bgr, make_noise(0, (21, 33)))
    assert (frames[0].source, frames[0].kind) == (str(path), "image")
    assert frames[0].captured_at.tzinfo is UTC
    assert frames[0].age_ms() >= 0


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """Images, a video and other files, not created in order of name; images differ in their gray value."""
    folder = tmp_path / "mixed [1]"
    folder.mkdir()
    for name, gray in (("d.PNG", 40), ("a.jpg", 10), ("c.bmp", 30)):
        write_image(folder / name, np.full((16, 16, 3), gray, np.uint8))
    write_video(folder / "b.avi", count=2)
    (folder / "notes.txt").write_text("no image")
    (folder / "z.json").write_text("{}")
    (folder / "folder.jpg").mkdir()
    return folder


def test_a_folder_gives_its_media_in_name_order_and_ignores_the_rest(mixed_folder: Path) -> None:
    source = open_source(str(mixed_folder))
    assert source.many_files
    names = [Path(frame.source).name for frame in source]
    assert names == ["a.jpg", "b.avi", "b.avi", "c.bmp", "d.PNG"]
    grays = [round(float(frame.pixels_bgr.mean())) for frame in source if frame.kind == "image"]
    assert grays == [10, 30, 40]


def test_hidden_files_of_a_folder_are_left_out(mixed_folder: Path) -> None:
    before = [frame.source for frame in open_source(str(mixed_folder))]
    (mixed_folder / "._a.png").write_bytes(b"a note of the file manager")
    assert [frame.source for frame in open_source(str(mixed_folder))] == before


def test_what_a_folder_has_besides_is_counted_by_suffix(mixed_folder: Path) -> None:
    source = open_source(str(mixed_folder))
    assert isinstance(source, FileSource)
    assert source.left_out == (
        f"{mixed_folder}: the folder: 4 of 7 entries are images or videos; not used: .txt (1), .json (1)"
    )
    with pytest.raises(SourceError, match=r"has 1 entry, but no image or video: \.txt \(1\); expected"):
        open_source(str(mixed_folder.parent / "mixed*" / "*.txt"))


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".JPG"])
def test_other_suffixes_of_jpeg_are_read_and_written(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", np.full((16, 16, 3), 80, np.uint8))
    (frame,) = open_source(str(tmp_path))
    assert round(float(frame.pixels_bgr.mean())) == 80


def test_a_glob_pattern_gives_its_matches_in_name_order(tmp_path: Path) -> None:
    for number, name in enumerate(("x2.png", "x10.png", "x1.png", "y1.png", "sub/x3.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "x9.txt").write_text("no image")
    source = open_source(str(tmp_path / "x*"))
    assert source.many_files
    assert [Path(frame.source).name for frame in source] == ["x1.png", "x10.png", "x2.png"]
    deep = open_source(str(tmp_path / "**" / "x*.png"))
    assert sorted(Path(frame.source).name for frame in deep) == ["x1.png", "x10.png", "x2.png", "x3.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    write_image(tmp_path / "a[1].png", np.zeros((8, 8, 3), np.uint8))
    assert [Path(frame.source).name for frame in open_source(str(tmp_path / "a[1].png"))] == ["a[1].png"]


@pytest.mark.parametrize("count", [1, 20])
def test_a_video_gives_every_frame_in_order(tmp_path: Path, count: int) -> None:
    frames = list(open_source(str(write_video(tmp_path / "walk.avi", count=count, fps=15.0))))
    assert frame_indices([frame.pixels_bgr for frame in frames]) == list(range(count))
    assert {(frame.kind, frame.fps, frame.pixels_bgr.shape) for frame in frames} == {("video", 15.0, (48, 64, 3))}


def test_a_name_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes what is before a colon for a protocol, unless the path is absolute."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "in.avi", count=3).rename("2026-11-20T12:30:05.avi")
    frames = list(open_source("2026-11-20T12:30:05.avi"))
    assert len(frames) == 3
    assert frames[0].source == "2026-11-20T12:30:05.avi"
    video = VideoFile(Path("out T12:30:05.mkv"), fps=10, frame_hw=(48, 64))
    for frame in frames:
        video.write(frame.pixels_bgr)
    video.close()
    assert len(list(open_source("out T12:30:05.mkv"))) == 3


def test_frames_of_a_video_do_not_share_memory(tmp_path: Path) -> None:
    frames = list(open_source(str(write_video(tmp_path / "walk.avi", count=3))))
    before = frames[0].pixels_bgr.copy()
    frames[1].pixels_bgr[:] = 255
    np.testing.assert_array_equal(frames[0].pixels_bgr, before)


@pytest.mark.parametrize("name", ["gone.jpg", "gone", "gone/deep.mp4", "a" * 300 + ".jpg", "gopher://camera/1"])
def test_an_absent_path_is_named(tmp_path: Path, name: str) -> None:
    text = name if "://" in name else str(tmp_path / name)
    with pytest.raises(SourceError) as caught:
        open_source(text)
    assert text in str(caught.value)


def test_a_folder_or_pattern_without_media_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="0 entries") as caught:
        open_source(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SourceError, match="1 entry"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"\*\.txt: the pattern"):
        open_source(str(tmp_path / "*.txt"))


@pytest.mark.parametrize("name", ["notes.mp4", "notes0.avi", "notes_%03d.mkv", "notes.txt", "empty.mov"])
def test_a_text_file_named_as_a_video_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("" if name.startswith("empty") else "just some words\n" * 50)
    with pytest.raises(SourceError) as caught:
        list(open_source(str(path)))
    assert str(path) in str(caught.value)


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "empty.avi", count=0)
    with pytest.raises(SourceError, match=r"empty\.avi: the video has no readable frame"):
        list(open_source(str(path)))


def test_a_bad_file_is_named_and_the_folder_continues(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    write_video(tmp_path / "c.avi", count=2)
    (tmp_path / "d.mp4").touch()
    write_image(tmp_path / "e.png", np.zeros((8, 8, 3), np.uint8))
    events: list[Event] = []
    told_before, seen = [], []

    def look() -> None:
        for frame in open_source(str(tmp_path)).frames(threading.Event(), events.append):
            seen.append(Path(frame.source).name)
            told_before.append(len(events))

    with pytest.raises(SourceError, match=r"2 of 5 files cannot be read completely; the first: .*b\.png: .* cut short"):
        look()
    assert seen == ["a.png", "c.avi", "c.avi", "e.png"]
    assert told_before == [0, 1, 1, 2]
    assert [(event.source, event.kind) for event in events] == [(str(tmp_path), "notice")] * 2
    assert "b.png: the image is cut short" in events[0].reason
    assert "d.mp4: OpenCV cannot open it" in events[1].reason


def test_a_folder_of_bad_files_ends_though_it_is_looped(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="2 of 2 files"):
        list(open_source(str(tmp_path), loop=True))
    write_image(tmp_path / "c.png", np.zeros((8, 8, 3), np.uint8))
    events: list[Event] = []
    frames = open_source(str(tmp_path), loop=True).frames(threading.Event(), events.append)
    assert {Path(next(frames).source).name for _ in range(5)} == {"c.png"}
    assert len(events) == 2, "each bad file is named once"


def test_a_file_that_is_gone_when_its_turn_comes_is_named(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "a.avi", count=1)))
    (tmp_path / "a.avi").unlink()
    with pytest.raises(SourceError, match=r"a\.avi: OpenCV cannot open it as a video \(the file is gone\)"):
        list(source)


def test_a_camera_without_a_device_is_named() -> None:
    with pytest.raises(SourceError, match="camera 63: cannot be opened"):
        next(iter(camera_source(63)))


@pytest.mark.parametrize(("stated_fps", "expected_fps"), [(30.0, 30.0), (0.0, FALLBACK_FPS)])
def test_a_camera_that_stops_is_an_error_and_is_released(
    monkeypatch: pytest.MonkeyPatch, stated_fps: float, expected_fps: float
) -> None:
    opened: list[FakeCamera] = []

    def open_fake(index: int) -> FakeCamera:
        opened.append(FakeCamera(index, count=2, fps=stated_fps))
        return opened[-1]

    monkeypatch.setattr(cv2, "VideoCapture", open_fake)
    source = camera_source(0, options=LiveOptions(reconnect=False))
    frames = source.frames(threading.Event(), lambda _: None)
    seen = [next(frames), next(frames)]
    assert [(frame.source, frame.kind, frame.fps) for frame in seen] == [("camera 0", "camera", expected_fps)] * 2
    with pytest.raises(SourceError, match="camera 0: no frame after 2"):
        next(frames)
    assert (source.live, source.many_files) == (True, False)
    assert [(camera.index, camera.released) for camera in opened] == [(0, True)]


def test_every_nth_frame_and_over_again(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "walk.avi", count=10, fps=12.0))
    frames = list(open_source(path, stride=3))
    assert frame_indices([frame.pixels_bgr for frame in frames]) == [0, 3, 6, 9]
    assert [frame.index for frame in frames] == [0, 3, 6, 9]
    assert {frame.fps for frame in frames} == {4.0}, "a saved video of them runs as fast as the source"
    stop = threading.Event()
    looped = []
    for frame in open_source(path, stride=5, loop=True).frames(stop, lambda _: None):
        looped.append(frame.pixels_bgr)
        if len(looped) == 5:
            stop.set()
    assert frame_indices(looped)[:5] == [0, 5, 0, 5, 0]


def test_a_cameras_frames_are_counted_with_those_skipped() -> None:
    source = LiveSource("camera 0", lambda: FakeCamera(0, count=9, fps=30.0), stride=4)
    frames = source.frames(threading.Event(), lambda _: None)
    assert [next(frames).index for _ in range(3)] == [0, 4, 8]


def avi_that_lies(path: Path, frames: int) -> None:
    """Set the number of frames that an AVI's headers state, in avih and in the stream's strh."""
    content = bytearray(path.read_bytes())
    main, stream = content.index(b"avih") + 8, content.index(b"strh") + 8
    content[main + 16 : main + 20] = frames.to_bytes(4, "little")
    content[stream + 32 : stream + 36] = frames.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("stated", [1, 1_000_000])
def test_a_header_that_lies_about_the_length_hides_no_frame(tmp_path: Path, stated: int) -> None:
    path = write_video(tmp_path / "walk.avi", count=10)
    avi_that_lies(path, stated)
    seen = []
    error = ""
    try:
        for frame in open_source(str(path)):
            seen.append(frame.pixels_bgr)
    except SourceError as caught:
        error = str(caught)
    assert frame_indices(seen) == list(range(10))
    assert error == "" or "ended after 10 of" in error, "too many promised may be said, after every frame"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".mp4", ".avi"])
def test_an_empty_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(SourceError) as caught:
        list(open_source(str(path)))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((30, 40), 90, np.uint8),
        np.full((30, 40, 4), 90, np.uint8),
        np.full((30, 40, 3), 90 * 257, np.uint16),
        np.full((30, 40), 90 * 257, np.uint16),
        np.full((1, 1, 3), 90, np.uint8),
        np.full((8000, 8000, 3), 90, np.uint8),
    ],
    ids=["gray", "alpha", "16 bits", "gray of 16 bits", "one pixel", "64 million pixels"],
)
def test_images_of_all_kinds_are_bgr_bytes_that_a_detector_takes(
    tmp_path: Path, detector: Detector, pixels: UInt8Array
) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    (frame,) = open_source(str(path))
    assert frame.pixels_bgr.dtype == np.uint8
    assert frame.pixels_bgr.shape == (*pixels.shape[:2], 3)
    assert (frame.pixels_bgr[::500, ::500] == 90).all()
    found = detector(frame.pixels_bgr)
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= np.tile(pixels.shape[1::-1], 2)).all()


def test_a_damaged_frame_in_a_video_ends_nothing_and_is_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.avi", count=20)
    content = bytearray(path.read_bytes())
    starts = [at for at in range(content.index(b"movi"), len(content)) if content.startswith(b"00dc", at)][:20]
    size = int.from_bytes(content[starts[12] + 4 : starts[12] + 8], "little")
    content[starts[12] + 8 : starts[12] + 8 + size] = bytes(size)
    path.write_bytes(content)
    seen: list[UInt8Array] = []

    def watch() -> None:
        for frame in open_source(str(path)):
            seen.append(frame.pixels_bgr)

    with pytest.raises(SourceError, match=r"walk\.avi: skipped 1 damaged frame, read 19"):
        watch()
    assert frame_indices(seen) == [index for index in range(20) if index != 12]


def test_the_time_of_capture_is_before_decoding() -> None:
    class SlowDecoding(FakeCapture):
        def retrieve(self) -> tuple[bool, UInt8Array]:
            time.sleep(0.2)
            return True, np.zeros((6, 8, 3), np.uint8)

    source = LiveSource("camera 0", lambda: SlowDecoding([np.zeros((6, 8, 3), np.uint8)] * 3))
    frame = next(source.frames(threading.Event(), lambda _: None))
    on_the_clock_ms = (datetime.now(UTC) - frame.captured_at).total_seconds() * 1e3
    assert on_the_clock_ms >= 199
    assert frame.age_ms() >= 200
