"""The Python API: a detector that threads may share, batches with the same results, sources by their names."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mmpnet.runtime
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import ContractError
from mmpnet.contract.metadata import InputKind
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.media.images import write_image
from mmpnet.runtime import Detector, open_source
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


def test_everything_named_is_there_and_nothing_else() -> None:
    for name in mmpnet.runtime.__all__:
        assert getattr(mmpnet.runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Detecter'"):
        _ = mmpnet.runtime.Detecter


def test_naming_the_package_loads_nothing() -> None:
    code = "import sys, mmpnet.runtime; sys.exit(bool({'onnxruntime', 'cv2', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
