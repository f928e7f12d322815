"""Videos and settings for the tests of archives."""

from pathlib import Path

import pytest

from mmpnet.archive.settings import Settings
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import file_sha256
from support.archive_videos import write_h264
from support.archives import Archive


@pytest.fixture(scope="session")
def recordings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """door/2026-11-29_07-30-00.mp4 of 15 s and yard/clip.mkv of 2 s. Read only."""
    folder = tmp_path_factory.mktemp("recordings")
    write_h264(folder / "door" / "2026-11-29_07-30-00.mp4", frames=150)
    write_h264(folder / "yard" / "clip.mkv", frames=20, seed=1)
    return folder


@pytest.fixture(scope="session")
def settings(tiny_onnx: Path) -> Settings:
    """Of the tiny network, with tracking."""
    detector = Detector(tiny_onnx, provider="cpu", threads=1)
    return Settings(
        model_name=tiny_onnx.name,
        model_sha256=file_sha256(tiny_onnx),
        class_names=tuple(detector.class_names),
        conf=detector.thresholds.conf,
        iou=detector.thresholds.iou,
        max_det=detector.thresholds.max_det,
    )


@pytest.fixture
def archive(tiny_onnx: Path, settings: Settings) -> Archive:
    return Archive(tiny_onnx, settings)
