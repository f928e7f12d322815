"""The self-test of the video decoder sees a decoder that does nothing, and videos are read accordingly."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import SourceError
from mmpnet.media.decoder_check import CLIP_GRAYS, decoder_fault
from mmpnet.media.video_writer import VideoFile
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.open import open_source
from support.fake_capture import FakeCapture
from support.frames import frame_indices


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test examines the decoder anew."""
    decoder_fault.cache_clear()
    yield
    decoder_fault.cache_clear()


class ReadingCapture(FakeCapture):
    def read(self) -> tuple[bool, object]:
        return self.retrieve() if self.grab() else (False, None)


@pytest.mark.parametrize(
    ("grays", "passes"),
    [
        (CLIP_GRAYS, True),
        ((62, 118, 181, 239), True),
        ((0,) * 4, False),
        ((60,) * 4, False),
        ((60, 120), False),
        ((), False),
    ],
)
def test_only_the_images_of_the_clip_pass(
    monkeypatch: pytest.MonkeyPatch, grays: tuple[int, ...], passes: bool
) -> None:
    frames = [np.full((32, 48, 3), gray, np.uint8) for gray in grays]
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: ReadingCapture(frames))
    fault = decoder_fault()
    assert (fault is None) == passes
    if fault is not None:
        assert f"OpenCV {cv2.__version__} does not decode interlaced video; version 4.12 does: pip install" in fault


def still_then(path: Path, *, still: int, moving: int) -> Path:
    video = VideoFile(path, fps=10, frame_hw=(48, 64))
    for value in [1] * still + list(range(2, 2 + moving)):
        video.write(np.full((48, 64, 3), 12 * value, np.uint8))
    video.close()
    return path


def use_decoders(monkeypatch: pytest.MonkeyPatch, fault: str | None, *, second: bool) -> None:
    monkeypatch.setattr("mmpnet.runtime.sources.repeated_frames.decoder_fault", lambda: fault)
    monkeypatch.setattr("mmpnet.runtime.sources.repeated_frames.second_decoder_works", lambda: second)


@pytest.mark.parametrize(("fault", "second"), [(None, False), ("OpenCV 0 is bad", True), ("OpenCV 0 is bad", False)])
def test_a_still_beginning_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None, second: bool
) -> None:
    use_decoders(monkeypatch, fault, second=second)
    frames = []
    with (
        pytest.raises(SourceError, match="4 frames of 8 may not be decoded") if fault and not second else nullcontext()
    ):
        for frame in open_source(str(still_then(tmp_path / "a.avi", still=5, moving=3))):
            frames.append(frame)
    assert frame_indices([frame.pixels_bgr for frame in frames]) == [1, 1, 1, 1, 1, 2, 3, 4]
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.source_time_s for frame in frames] == pytest.approx([n / 10 for n in range(8)])
    frames[0].pixels_bgr[:] = 0
    assert frames[1].pixels_bgr.any()


def test_a_video_of_one_image_is_an_error_or_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = still_then(tmp_path / "a.avi", still=5, moving=0)
    use_decoders(monkeypatch, None, second=False)
    events: list[Event] = []
    assert len(list(open_source(str(path)).frames(threading.Event(), events.append))) == 5
    assert [event.reason.partition(": ")[2] for event in events] == [
        "all 5 frames are equal to the byte; check that it shows a still scene"
    ]
    use_decoders(monkeypatch, "OpenCV 0 is bad", second=True)
    assert len(list(open_source(str(path)))) == 5, "PyAV knows that it is a still scene"
    use_decoders(monkeypatch, "OpenCV 0 is bad", second=False)
    with pytest.raises(SourceError, match="all 5 frames are equal to the byte; OpenCV 0 is bad"):
        list(open_source(str(path)))
