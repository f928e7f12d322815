"""Track ids follow people, in the order of the detections, and memory is bounded."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, IntArray
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MissingExtraError
from mmpnet.runtime.analytics.tracker import CONFIRMED_AFTER_FRAMES, LOW_CONF, NO_TRACK, Tracker

WIDTH_PX, HEIGHT_PX = 60, 160


def seen(centers_xy: Sequence[Sequence[float]] | NDArray[np.floating[Any]], scores: Sequence[float] = ()) -> Detections:
    """People of one size around these centers; the scores, best first, are 0.9 unless given."""
    centers = np.asarray(centers_xy, np.float64).reshape(-1, 2)
    half = np.array([WIDTH_PX, HEIGHT_PX]) / 2
    boxes = np.concatenate([centers - half, centers + half], axis=1).astype(np.float32)
    score = np.array(scores or [0.9] * len(boxes), np.float32)
    return Detections(boxes, score, np.ones(len(boxes), np.int64))


def nobody() -> Detections:
    return seen([])


class Follower:
    """Passes rows to a tracker in random order and returns the ids by person."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._tracker = Tracker(frame_rate=30)

    def follow(self, centers_xy: NDArray[np.float64], present: Sequence[int] | IntArray) -> dict[int, int]:
        """Track id of every visible person; centers_xy (P, 2) of all, jittered by some px."""
        order = self._generator.permutation(np.asarray(present, np.int64))
        jitter = self._generator.normal(0, 1.0, (len(order), 2))
        ids = self._tracker.update(seen(centers_xy[order] + jitter))
        assert ids.shape == (len(order),)
        assert ids.dtype == np.int64
        return dict(zip(order.tolist(), ids.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_ids_stay_with_people_who_cross_each_other(seed: int) -> None:
    """Three walk right and three left, on paths that coincide or are adjacent; rows come in any order."""
    follower = Follower(seed)
    start = np.array([[50, 200], [60, 420], [0, 640], [700, 200], [690, 440], [750, 700]], np.float64)
    velocity = np.array([[7, 0], [6, 0.5], [8, -0.5], [-7, 0], [-6, 0], [-8, -1]])
    ids = [follower.follow(start + velocity * frame, range(6)) for frame in range(90)]
    assert set(ids[0].values()) == {NO_TRACK}
    assert sorted(ids[1].values()) == [1, 2, 3, 4, 5, 6]
    assert all(later == ids[1] for later in ids[1:])


@pytest.mark.parametrize("seed", range(5))
def test_ids_stay_with_people_of_whom_one_hides_the_other(seed: int) -> None:
    """NMS keeps one of two boxes that overlap by more than half, so one person is unseen for a while."""
    follower = Follower(seed)
    start, velocity = np.array([[50, 200], [700, 210]], np.float64), np.array([[7, 0], [-7, 0]])
    unseen = 0
    for frame in range(90):
        centers = start + velocity * frame
        boxes = seen(centers).xyxy
        hidden = float(pairwise_iou(boxes[:1], boxes[1:])[0, 0]) > 0.5
        unseen += hidden
        ids = follower.follow(centers, [0] if hidden else [0, 1])
        if frame == 1:
            first = ids
        if frame > 1:
            assert ids.items() <= first.items()
    assert unseen >= 2


@pytest.mark.parametrize("seed", range(5))
def test_ids_outlast_a_few_missed_frames(seed: int) -> None:
    follower, generator = Follower(seed), np.random.default_rng(seed)
    start = np.array([[100, 100], [300, 500], [900, 300]], np.float64)
    velocity = np.array([[4, 1], [3, -2], [-5, 0]])
    expected = {0: 0, 1: 0, 2: 0}
    missed_until = np.zeros(3, np.int64)
    for frame in range(120):
        if frame >= 10 and frame % 12 == 0:
            missed_until[generator.integers(3)] = frame + generator.integers(1, 9)
        present = np.flatnonzero(missed_until <= frame)
        ids = follower.follow(start + velocity * frame, present)
        if frame == 1:
            expected = ids
            assert sorted(expected.values()) == [1, 2, 3]
        if frame > 1:
            assert ids == {person: expected[person] for person in present.tolist()}


def test_an_id_outlasts_frames_without_any_detection() -> None:
    tracker = Tracker(frame_rate=10)
    for frame in range(5):
        ids = tracker.update(seen([[100 + 3 * frame, 200]]))
    for _ in range(6):
        assert tracker.update(nobody()).shape == (0,)
    assert ids.tolist() == tracker.update(seen([[133, 200]])).tolist() == [1]


@pytest.mark.parametrize(("missed", "expected"), [(8, 1), (13, 2)])
def test_an_id_ends_after_a_second(missed: int, expected: int) -> None:
    tracker = Tracker(frame_rate=10)
    for _ in range(5):
        tracker.update(seen([[100, 200]]))
    for _ in range(missed):
        tracker.update(nobody())
    tracker.update(seen([[100, 200]]))
    assert tracker.update(seen([[100, 200]])).tolist() == [expected]


@pytest.mark.parametrize(("gap_s", "expected"), [(0.8, 1), (1.3, 2)])
def test_the_second_is_one_of_the_clock_where_frames_are_stamped(gap_s: float, expected: int) -> None:
    """A camera of 30 fps of which the device processes every sixth frame."""
    tracker = Tracker(frame_rate=30)
    for frame in range(6):
        tracker.update(seen([[100 + 5 * frame, 200]]), time_s=50 + frame / 5)
    back_s = 51 + gap_s
    tracker.update(seen([[125 + 25 * gap_s, 200]]), time_s=back_s)
    assert tracker.update(seen([[130 + 25 * gap_s, 200]]), time_s=back_s + 0.2).tolist() == [expected]


def test_nobody_keeps_an_id_over_minutes_or_over_the_start_of_a_repeated_video() -> None:
    tracker = Tracker(frame_rate=10)
    ids = [
        tracker.update(seen([[100, 200]]), time_s=start_s + frame / 10).tolist()
        for start_s in (0.0, 300.0, 0.0)
        for frame in range(30)
    ]
    assert ids == [[-1], *[[1]] * 29, [-1], *[[2]] * 29, [-1], *[[3]] * 29]


def test_a_frame_every_two_seconds_is_enough_to_follow_who_stands_still() -> None:
    tracker = Tracker(frame_rate=0.5)
    ids = [tracker.update(seen([[100, 200]]), time_s=2.0 * frame).tolist() for frame in range(4)]
    assert ids == [[-1], [1], [1], [1]]


@pytest.mark.parametrize("stamped", [False, True])
def test_walkers_are_followed_at_five_frames_a_second(stamped: bool) -> None:
    """Half a box width per frame, with frames at uneven times if they have timestamps."""
    generator = np.random.default_rng(0)
    tracker = Tracker(frame_rate=30 if stamped else 5)
    at_s, found = 0.0, []
    for frame in range(30):
        step_s = generator.uniform(0.15, 0.25) if stamped else 0.2
        at_s += step_s
        boxes = seen([[100 + 150 * at_s, 200], [1000 - 150 * at_s, 260]])
        ids = tracker.update(boxes, time_s=at_s if stamped else None)
        if frame >= CONFIRMED_AFTER_FRAMES - 1:
            found.append(tuple(ids.tolist()))
    assert set(found) == {(1, 2)}


def test_rows_that_come_and_go_keep_their_ids_by_place_not_by_row() -> None:
    tracker = Tracker(frame_rate=30)
    places = np.array([[100, 200], [400, 200], [700, 200], [1000, 200]], np.float64)
    for _ in range(2):
        ids = tracker.update(seen(places))
    assert ids.tolist() == [1, 2, 3, 4]
    for rows in ([3, 1], [2], [], [0, 2, 3], [1, 0, 3, 2]):
        assert tracker.update(seen(places[rows])).tolist() == [row + 1 for row in rows]


def test_a_detection_without_a_track_stands_in_its_own_row() -> None:
    tracker = Tracker(frame_rate=30)
    for _ in range(3):
        tracker.update(seen([[100, 200]]))
    assert tracker.update(seen([[500, 200], [100, 200], [900, 200]])).tolist() == [NO_TRACK, 1, NO_TRACK]


def test_a_low_score_continues_but_never_starts() -> None:
    tracker = Tracker(frame_rate=30)
    for _ in range(20):
        assert tracker.update(seen([[100, 200]], [LOW_CONF])).tolist() == [NO_TRACK]
    for _ in range(2):
        ids = tracker.update(seen([[100, 200]], [0.45]))
    assert ids.tolist() == [1]
    for _ in range(14):  # less than WEAK_S at 30 frames per second
        assert tracker.update(seen([[100, 200], [600, 200]], [0.15, 0.15])).tolist() == [1, NO_TRACK]


@pytest.mark.parametrize("live", [False, True])
def test_low_scores_alone_end_and_a_high_one_brings_the_id_back(live: bool) -> None:
    tracker = Tracker(frame_rate=10)
    frames = iter(range(1000))

    def next_ids(*scores: float) -> list[int]:
        captured_s = next(frames) / 10 if live else None
        ids: list[int] = tracker.update(seen([[100, 200]] * len(scores), scores), time_s=captured_s).tolist()
        return ids

    for _ in range(CONFIRMED_AFTER_FRAMES):
        next_ids(0.8)
    weak = [next_ids(0.15) for _ in range(20)]
    assert weak[:4] == 4 * [[1]]
    assert weak[6:] == 14 * [[NO_TRACK]]
    assert next_ids(0.8) == [1]
    assert next_ids(0.15) == [1]


def test_a_low_score_elsewhere_is_not_the_one_who_was_here() -> None:
    tracker = Tracker(frame_rate=5)
    for _ in range(CONFIRMED_AFTER_FRAMES):
        tracker.update(seen([[100, 200]]))
    overlap = WIDTH_PX * 0.7  # IoU 0.18: enough for a strong detection at five frames per second
    assert tracker.update(seen([[100 + overlap, 200]], [0.15])).tolist() == [NO_TRACK]
    assert tracker.update(seen([[100 + overlap, 200]], [0.9])).tolist() == [1]


def test_the_memory_of_tracks_does_not_grow() -> None:
    tracker = Tracker(frame_rate=30)
    for number in range(300):
        tracker.update(seen([[100 + 500 * (number // 3), 200]]))
    assert len(tracker._continued._tracks) <= 30


def test_a_high_score_takes_the_track_from_a_low_one_that_lies_nearer() -> None:
    tracker = Tracker(frame_rate=30)
    for _ in range(3):
        tracker.update(seen([[100, 200]]))
    assert tracker.update(seen([[115, 200], [100, 200]], [0.9, 0.2])).tolist() == [1, NO_TRACK]


@pytest.mark.parametrize(("conf", "expected"), [(0.2, 1), (0.6, NO_TRACK)])
def test_conf_is_the_score_that_starts_a_track(conf: float, expected: int) -> None:
    tracker = Tracker(frame_rate=30, conf=conf)
    for _ in range(CONFIRMED_AFTER_FRAMES):
        ids = tracker.update(seen([[100, 200]], [0.5]))
    assert ids.tolist() == [expected]


def test_two_classes_never_share_a_track() -> None:
    """A person leaves, and a dog is in the same place in the next frame."""
    tracker = Tracker(frame_rate=30)
    boxes = seen([[100, 200]])
    for _ in range(3):
        person = tracker.update(boxes)
    for _ in range(3):
        dog = tracker.update(Detections(boxes.xyxy, boxes.score, np.full(1, 2, np.int64)))
    assert (person.tolist(), dog.tolist()) == ([1], [2])
    both = Detections(np.repeat(boxes.xyxy, 2, axis=0), np.full(2, 0.9, np.float32), np.array([2, 1], np.int64))
    assert tracker.update(both).tolist() == [2, 1]


def crowd(seed: int, frame: int, people: int) -> FloatArray:
    """Centers (P, 2) of walking people, each present for 100 frames and sometimes not detected."""
    generator = np.random.default_rng([seed, frame])
    found = []
    for person in range(people):
        life, born = divmod(frame + 3 * person, 100)
        walk = np.random.default_rng([seed, person, life])
        if generator.random() < 0.9:
            found.append(walk.uniform(100, 3000, 2) + walk.uniform(-5, 5, 2) * born)
    return np.array(found, np.float32).reshape(-1, 2)


def test_a_crowd_leaves_nothing_behind_and_is_counted_the_same_way_twice() -> None:
    runs = []
    for _ in range(2):
        tracker = Tracker(frame_rate=30)
        runs.append([tracker.update(seen(crowd(0, frame, people=25))).tolist() for frame in range(500)])
        assert len(tracker._byte_track.tracks) <= 50, "people seen within the last second"
    assert runs[0] == runs[1]
    for ids in runs[0]:
        known = [track_id for track_id in ids if track_id != NO_TRACK]
        assert len(set(known)) == len(known), "one id, one person"
        assert min(known, default=1) >= 1
    for _ in range(31):
        tracker.update(nobody())
    assert tracker._byte_track.tracks == []


def test_trackers_count_for_themselves() -> None:
    for _ in range(2):
        tracker = Tracker(frame_rate=30)
        for _ in range(2):
            ids = tracker.update(seen([[100, 200]]))
        assert ids.tolist() == [1]


@pytest.mark.parametrize("frame_rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_frame_rate_that_is_invalid_is_refused(frame_rate: float) -> None:
    with pytest.raises(ValueError, match="frame_rate must be a positive number"):
        Tracker(frame_rate=frame_rate)


@pytest.mark.parametrize("name", ["trackers", "supervision"])
def test_without_the_package_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] in ("trackers", "supervision")]:
        monkeypatch.delitem(sys.modules, module)

    class Absent:
        def find_spec(self, wanted: str, _path: object = None, _target: object = None) -> None:
            if wanted.split(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=rf"tracking needs {name}: pip install 'mmpnet\[track\]'"):
        Tracker(frame_rate=30)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/']"),
            "set TMPDIR to a writable folder",
        ),
        (ImportError("libfoo.so: cannot open shared object file"), r"install mmpnet\[track\] again"),
        (AttributeError("module 'numpy' has no attribute 'float'"), r"install mmpnet\[track\] again"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_one_line(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] in ("trackers", "supervision")]:
        monkeypatch.delitem(sys.modules, module)

    class Broken:
        def find_spec(self, wanted: str, _path: object = None, _target: object = None) -> None:
            if wanted == "trackers":
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=rf"tracking cannot load its packages \(.*\); {advice}"):
        Tracker(frame_rate=30)


def test_tracking_brings_neither_torch_nor_the_package_before_it_is_requested() -> None:
    code = """
import sys
from mmpnet.runtime.analytics.tracker import Tracker
assert not {"trackers", "supervision", "torch"} & set(sys.modules)
Tracker(frame_rate=30)
assert "trackers" in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
