"""Videos and settings for the tests of archives."""

from pathlib import Path

import pytest

from mmpnet.archive.settings import Settings
from support.archive_videos import write_h264
from support.archives import Archive, settings_with


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
    return settings_with(tiny_onnx)


@pytest.fixture
def archive(tiny_onnx: Path, settings: Settings) -> Archive:
    return Archive(tiny_onnx, settings)
