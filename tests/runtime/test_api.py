"""The Python API: a detector that threads may share, batches with the same results, sources by their names."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mmpnet.runtime
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError, SourceError
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.thresholds import Thresholds
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.media.images import write_image
from mmpnet.runtime import Counter, Detection, Detector, Tracker, draw, open_source
from support.exported import ExportCache
from support.frames import make_noise


def assert_same(found: Detections, expected: Detections, *, within: float = 0.0) -> None:
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=0, atol=100 * within)
    np.testing.assert_allclose(found.score, expected.score, rtol=0, atol=within)
    np.testing.assert_array_equal(found.class_id, expected.class_id)


@pytest.mark.parametrize("kind", ["uint8-nhwc", "float-nchw"])
def test_threads_may_share_a_detector(
    exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions, kind: InputKind
) -> None:
    """Every thread has its own buffer: frames of many sizes at once give the same results as one by one."""
    path = exported(tiny_checkpoint, dataclasses.replace(export_options, input_kind=kind))
    detector = Detector(path, provider="cpu", threads=1)
    frames = [make_noise(seed, (40 + 7 * seed, 90 - 5 * seed)) for seed in range(8)]
    expected = [detector(frame) for frame in frames]
    assert len({len(found) for found in expected} | {float(found.score[0]) for found in expected}) > 8
    with ThreadPoolExecutor(4) as pool:
        for _ in range(6):
            for found, alone in zip(pool.map(detector, frames), expected, strict=True):
                assert_same(found, alone)


def test_threads_may_use_one_session_with_thresholds_of_their_own(tiny_onnx: Path) -> None:
    wide = Detector(tiny_onnx, provider="cpu", threads=1)
    narrow = wide.with_thresholds(Thresholds(conf=0.6, iou=0.5, max_det=3))
    frame = make_noise(0, (64, 64))
    expected = len(wide(frame)), len(narrow(frame))
    assert expected[0] != expected[1]
    with ThreadPoolExecutor(2) as pool:
        futures = [(pool.submit(wide, frame), pool.submit(narrow, frame)) for _ in range(30)]
        assert {(len(one.result()), len(other.result())) for one, other in futures} == {expected}


@pytest.mark.parametrize("batch", [1, "dynamic"])
@pytest.mark.parametrize("head", ["grid", "boxes", "nms"])
@pytest.mark.parametrize("kind", ["uint8-nhwc", "float-nchw"])
def test_a_batch_gives_what_each_of_its_frames_gives(
    exported: ExportCache,
    tiny_checkpoint: Path,
    export_options: ExportOptions,
    batch: int | str,
    head: str,
    kind: InputKind,
) -> None:
    options = dataclasses.replace(export_options, batch=batch, head=head, input_kind=kind)  # type: ignore[arg-type]
    detector = Detector(exported(tiny_checkpoint, options), provider="cpu", threads=1)
    frames = [make_noise(seed, (64 + 9 * seed, 64 - 9 * seed)) for seed in range(3)]
    together = detector.batch(frames)
    assert [len(found) for found in together] == [len(detector(frame)) for frame in frames]
    assert sum(len(found) for found in together) > 3
    for found, frame in zip(together, frames, strict=True):
        assert_same(found, detector(frame), within=1e-5)
    assert detector.batch([]) == []


def test_a_closed_detector_says_so(tiny_onnx: Path) -> None:
    with Detector(tiny_onnx, provider="cpu", threads=1) as detector:
        assert len(detector(make_noise(0, (64, 64)))) > 0
    with pytest.raises(ContractError, match="this detector has been closed"):
        detector(make_noise(0, (64, 64)))


def test_the_ten_lines_of_the_readme_run(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", make_noise(0, (64, 64)))
    with Detector() as detector:
        for frame in open_source(str(tmp_path)):
            found = detector(frame.pixels_bgr)
            assert found.xyxy.shape == (len(found), 4)


def test_detections_are_a_sequence_of_detections() -> None:
    found = Detections(
        np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], np.float32),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.array([1, 2, 1]),
    )
    assert list(found) == [
        Detection((0, 1, 2, 3), 0.75, 1),
        Detection((4, 5, 6, 7), 0.5, 2),
        Detection((8, 9, 10, 11), 0.25, 1),
    ]
    assert found[-1] == list(found)[2] == found[np.int64(2)]
    assert [one.score for one in found[:2]] == [0.75, 0.5]
    with pytest.raises(IndexError):
        _ = found[3]


def test_detections_become_those_of_supervision() -> None:
    rows = Detections(
        np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32), np.array([0.75, 0.5], np.float32), np.array([1, 2])
    )
    theirs = rows.to_supervision(["background", "person", "dog"])
    np.testing.assert_array_equal(theirs.xyxy, rows.xyxy)
    np.testing.assert_array_equal(theirs.confidence, rows.score)
    assert theirs.class_id.tolist() == [1, 2]
    assert theirs["class_name"].tolist() == ["person", "dog"]
    assert len(rows[:0].to_supervision(["background", "person"])) == 0


def test_a_detector_takes_a_path(tiny_onnx: Path, tmp_path: Path) -> None:
    frame = make_noise(0, (64, 64))
    write_image(tmp_path / "a.png", frame)
    with Detector(tiny_onnx, provider="cpu", threads=1) as detector:
        assert_same(detector(str(tmp_path / "a.png")), detector(frame))
        assert_same(detector(tmp_path / "a.png"), detector(frame))
        with pytest.raises(SourceError, match=r"b\.png: cannot be read"):
            detector(tmp_path / "b.png")


def test_people_are_tracked_counted_and_drawn() -> None:
    """Somebody walks down through the image, across the line, into the zone."""
    names = ["background", "person"]
    tracker = Tracker(frame_rate=10)
    counter = Counter(
        (200, 100), lines=["door=0,50%,100%,50%"], zones=["0,60%,100%,60%,100%,100%,0,100%"], class_names=names
    )
    for step in range(20):
        box = np.array([[40, 10 + 6 * step, 60, 50 + 6 * step]], np.float32)
        found = Detections(box, np.array([0.9], np.float32), np.array([1]))
        ids = tracker.update(found)
        counter.update(found, ids)
    assert counter.counts["door"] == {"in_count": 1, "out_count": 0}
    assert counter.counts["zone1"]["count"] == 1
    frame = np.zeros((200, 100, 3), np.uint8)
    drawn = draw(frame, found, names, track_ids=ids, counter=counter)
    assert not frame.any()
    assert drawn[100, 2:8].any(), "the line"
    assert drawn[160, 38:43].any(), "the box"


def test_everything_named_is_there_and_nothing_else() -> None:
    assert dir(mmpnet.runtime) == sorted(mmpnet.runtime.__all__)
    for name in mmpnet.runtime.__all__:
        assert getattr(mmpnet.runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Detecter'"):
        _ = mmpnet.runtime.Detecter


def test_naming_the_package_loads_nothing() -> None:
    code = "import sys, mmpnet.runtime; sys.exit(bool({'onnxruntime', 'cv2', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
