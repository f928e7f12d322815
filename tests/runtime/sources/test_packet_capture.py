"""Frames of a stream that its decoder did not decode are counted, and no frame is given twice."""

import threading
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adversity.odd_videos import COUNT, VIDEOS, made_from, number_in
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import SourceError
from mmpnet.runtime.sources.frame import Event, Frame
from mmpnet.runtime.sources.frame_grabber import FrameGrabber
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import LiveOptions
from mmpnet.runtime.sources.packet_capture import PacketCapture, decoded_by_pyav
from mmpnet.runtime.sources.video_capture import open_stream
from support.byte_server import ByteServer
from support.rtsp_camera import RtspCamera

av: Any = pytest.importorskip("av", reason="these frames are decoded by PyAV: pip install 'mmpnet[record]'")

KEY_EVERY = 10
HALF = [number for number in range(15, COUNT, 7) if number % KEY_EVERY]
"""Packets of which the second half is zeros."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


def encoded(folder: Path, name: str, *arguments: object) -> Path:
    """The plain video in another coding; 25 frames per second, as MPEG-2 has no 10."""
    options = ["-bf", 0, "-g", KEY_EVERY, "-sc_threshold", 0, *arguments]
    return folder / name if (folder / name).exists() else made_from(folder, name, ["-r", 25], *options)


def without_halves(path: Path) -> Path:
    """The stream with a second half of zeros in the packets of HALF."""
    out = path.with_name(f"damaged-{path.name}")
    with av.open(str(path)) as source, av.open(str(out), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(one for one in source.demux(video=0) if one.size):
            content = bytes(packet)
            assert packet.is_keyframe == (number % KEY_EVERY == 0)
            keep = len(content) // 2 if number in HALF else len(content)
            damaged = av.Packet(content[:keep] + bytes(len(content) - keep))
            damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
            damaged.stream, damaged.is_keyframe = stream, packet.is_keyframe
            output.mux(damaged)
    return out


def retrieved(capture: Any) -> Iterator[UInt8Array | None]:
    """Each frame; None for one that was not decoded."""
    failures = 0
    while failures < 20:  # before the first frame, it fails for each packet
        if not capture.grab():
            failures += 1
            continue
        delivered, pixels = capture.retrieve()
        yield pixels if delivered else None


CODINGS: dict[str, list[object]] = {
    "h264.ts": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "hevc.ts": ["-c:v", "libx265", "-x265-params", "log-level=none:bframes=0"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-q:v", 2, "-sc_threshold", 1_000_000_000],
    "h264.flv": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "vp8.webm": ["-c:v", "libvpx", "-b:v", "2M"],
}


@pytest.mark.parametrize("name", [*CODINGS, "plain.mkv", "plain.mp4", "plain.avi"])
def test_the_pixels_are_those_of_opencv(folder: Path, name: str) -> None:
    path = encoded(folder, name, *CODINGS[name]) if name in CODINGS else VIDEOS[name](folder)
    capture, reference = decoded_by_pyav(open_stream(str(path))), cv2.VideoCapture(str(path))
    assert isinstance(capture, PacketCapture)
    count = 0
    for pixels in retrieved(capture):
        delivered, expected = reference.read()
        assert delivered
        assert pixels is not None
        np.testing.assert_array_equal(pixels, expected)
        if not name.endswith("avi"):  # whose B-frames have no times
            shown_ms = reference.get(cv2.CAP_PROP_POS_MSEC)
            assert capture.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(shown_ms, abs=0.01)
        count += 1
    assert count >= COUNT, "with those that the decoder still held at the end of the file"


@pytest.mark.parametrize("name", ["interlaced.mp4", "partly.mkv"])
def test_interlaced_frames_are_decoded(folder: Path, name: str) -> None:
    pixels = list(retrieved(decoded_by_pyav(open_stream(str(VIDEOS[name](folder))))))
    assert [None if one is None else number_in(one) for one in pixels] == list(range(COUNT))


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts"])
def test_no_frame_of_a_damaged_stream_repeats_another(folder: Path, name: str) -> None:
    path = without_halves(encoded(folder, name, *CODINGS[name]))
    frames = list(retrieved(decoded_by_pyav(open_stream(str(path)))))
    good = [one for one in frames if one is not None]
    assert len(frames) >= COUNT
    assert sum(one is None for one in frames) >= len(HALF) - 1, "half of a small frame of MPEG-2 may be a whole one"
    assert not any(np.array_equal(one, two) for one, two in combinations(good, 2)), "a slow reader passes over some"
    shown = [None if one is None else number_in(one) for one in frames]
    assert shown[: HALF[0]] == list(range(HALF[0]))


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts"])
def test_a_reader_that_begins_after_damage_gets_the_next_frames(folder: Path, name: str) -> None:
    capture = decoded_by_pyav(open_stream(str(without_halves(encoded(folder, name, *CODINGS[name])))))
    passed = 0
    while passed <= HALF[0]:
        passed += capture.grab()
    before_key = [capture.grab() and capture.retrieve()[0] for _ in range(HALF[0] + 1, 2 * KEY_EVERY)]
    assert before_key == [True] * (2 * KEY_EVERY - HALF[0] - 1)


def still(folder: Path) -> Path:
    """A test card: the number 5 in every frame, which a coder tells by leaving all blocks out."""
    return encoded(folder, "still.ts", "-vf", "select='eq(n,5)',loop=-1:1:0", "-t", 2.2, *CODINGS["h264.ts"])


def test_a_still_scene_is_given_whole_and_is_live(folder: Path) -> None:
    count = sum(pixels is not None for pixels in retrieved(decoded_by_pyav(open_stream(str(still(folder))))))
    assert count >= 50
    events: list[Event] = []
    with (
        ByteServer(still(folder), lasts_s=3) as server,
        FrameGrabber([open_source(server.url, live=LiveOptions(reconnect=False))], events.append) as grabber,
    ):
        while not grabber.ended:
            grabber.take()
    assert (grabber.counts[0].damaged, grabber.counts[0].repeated) == (0, 0)
    assert grabber.counts[0].captured >= count - 1
    assert [event.kind for event in events] == ["connecting", "live", "closed"]


def test_a_still_scene_comes_again_from_the_next_key_frame_on(folder: Path) -> None:
    path = without_halves(still(folder))
    shown = [pixels is not None for pixels in retrieved(decoded_by_pyav(open_stream(str(path))))]
    for first in range(0, len(shown), KEY_EVERY):
        damaged = [number for number in HALF if first <= number < first + KEY_EVERY]
        of_key = shown[first : first + KEY_EVERY]
        good = min(min(damaged, default=len(shown)) - first, len(of_key))
        assert of_key == [True] * good + [False] * (len(of_key) - good)


@pytest.mark.parametrize("name", ["plain.mp4", "turned.mp4"])
def test_what_pyav_cannot_decode_in_the_same_way_stays_with_opencv(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "plain.mp4":
        monkeypatch.setattr("mmpnet.runtime.sources.packet_capture.second_decoder_works", lambda: False)
    capture = open_stream(str(VIDEOS[name](folder)))
    assert decoded_by_pyav(capture) is capture
    assert capture.read()[1].shape[2] == 3


def test_a_codec_that_needs_more_than_packets_stays_with_opencv(folder: Path) -> None:
    capture = open_stream(str(encoded(folder, "mpeg4.ts", "-c:v", "mpeg4", "-q:v", 2)))
    assert decoded_by_pyav(capture) is capture


def test_a_damaged_stream_over_tcp_is_counted(folder: Path) -> None:
    events: list[Event] = []
    taken: list[Frame] = []
    path = without_halves(encoded(folder, "h264.ts", *CODINGS["h264.ts"]))
    with (
        ByteServer(path, lasts_s=4) as server,
        FrameGrabber([open_source(server.url, live=LiveOptions(reconnect=False))], events.append) as grabber,
    ):
        while not grabber.ended:
            frame = grabber.take()
            taken += [] if frame is None else [frame]
    counts = grabber.counts[0]
    assert isinstance(grabber.errors[0], SourceError)
    assert counts.damaged >= len(HALF)
    assert counts.captured + counts.damaged >= COUNT - 2
    assert not any(np.array_equal(one.pixels_bgr, two.pixels_bgr) for one, two in pairwise(taken))
    assert ["sends damaged frames" in event.reason for event in events if event.kind == "notice"] == [True]
    assert "live" in [event.kind for event in events]


@pytest.mark.slow
def test_a_damaged_rtsp_stream_is_counted() -> None:
    events: list[Event] = []
    taken: list[Frame] = []
    with (
        RtspCamera("--damage-every", 7) as camera,
        FrameGrabber([open_source(camera.address())], events.append) as grabber,
    ):
        while len(taken) < 40:
            frame = grabber.take()
            taken += [] if frame is None else [frame]
    assert grabber.counts[0].damaged >= 40 // 7
    neighbors = [(one, two) for one, two in pairwise(taken) if two.index == one.index + 1]
    assert neighbors
    assert not any(np.array_equal(one.pixels_bgr, two.pixels_bgr) for one, two in neighbors)
    assert [event.kind for event in events if event.kind != "notice"] == ["connecting", "live", "closed"]


@pytest.mark.slow
def test_a_still_rtsp_stream_is_live() -> None:
    events: list[Event] = []
    with RtspCamera("--still") as camera:
        frames = open_source(camera.address()).frames(threading.Event(), events.append)
        taken = [next(frames) for _ in range(30)]
        frames.close()  # type: ignore[attr-defined]
    assert all(np.array_equal(one.pixels_bgr, two.pixels_bgr) for one, two in pairwise(taken))
    gaps_s = [two.captured_s - one.captured_s for one, two in pairwise(taken)]
    assert sum(gaps_s) / len(gaps_s) == pytest.approx(0.1, rel=0.3), "all frames of 10 per second"
    assert [event.kind for event in events] == ["connecting"]
