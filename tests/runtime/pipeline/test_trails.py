"""The trails of tracked objects."""

from dataclasses import replace

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.media.palette import color_of
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.trails import LENGTH_S, Trails
from support.results import make_result


def seen(index: int, x: float, *, track: int = 3, source: str = "a.mp4") -> Result:
    """A person with feet at x, 100 in frame `index` of a video with 10 frames per second."""
    boxes = np.array([[x - 10, 20, x + 10, 100]], np.float32)
    found = Detections(boxes, np.array([0.9], np.float32), np.ones(1, np.int64))
    frame_bgr = np.zeros((240, 320, 3), np.uint8)
    result = make_result(frame_bgr, source=source, kind="video", detections=found)
    tracks = Tracks(np.array([track]), None, lambda *_: None)
    return replace(result, frame=replace(result.frame, index=index), tracks=tracks)


def nobody(index: int) -> Result:
    result = seen(index, 0)
    none = np.zeros(1, np.bool_)
    assert result.tracks is not None
    return replace(result, detections=result.detections[none], tracks=replace(result.tracks, ids=np.zeros(0, int)))


def drawn(trails: Trails) -> UInt8Array:
    frame_bgr = np.zeros((240, 320, 3), np.uint8)
    trails.draw(frame_bgr)
    return frame_bgr


def test_a_trail_leads_along_the_feet_in_the_color_of_the_track() -> None:
    trails = Trails()
    for index in range(20):
        trails.follow(seen(index, 50 + 10 * index))
    frame_bgr = drawn(trails)
    assert frame_bgr[100, 50:241].any(axis=1).all()
    assert (frame_bgr[100, 200:235] == color_of(1, 3)).all(), "its newest part is opaque"
    assert not frame_bgr[:90].any()


def test_a_trail_is_as_long_as_promised_and_ends_after_its_person() -> None:
    trails = Trails()
    for index in range(100):
        trails.follow(seen(index, 50 + 2 * index))
    columns = np.nonzero(drawn(trails).any(axis=(0, 2)))[0]
    assert columns.min() >= 50 + 2 * (99 - 10 * LENGTH_S) - 3
    for index in range(100, 100 + int(10 * LENGTH_S) + 2):
        trails.follow(nobody(index))
    assert not drawn(trails).any()


def test_the_next_file_of_a_folder_starts_without_trails() -> None:
    trails = Trails()
    for index in range(5):
        trails.follow(seen(index, 50 + 10 * index))
    trails.follow(seen(0, 300, source="b.mp4"))
    assert not drawn(trails)[:, :200].any()
