"""Recordings are found once, with the camera and the time that their names tell."""

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from mmpnet.archive.recordings import find_recordings, start_in_name
from mmpnet.contract.errors import MmpnetError


@pytest.mark.parametrize(
    ("path", "started"),
    [
        ("door/2026-11-29_07-30-05.mp4", datetime(2026, 11, 29, 7, 30, 5)),
        ("door/ch01_20261129073005.mp4", datetime(2026, 11, 29, 7, 30, 5)),
        ("door/20261129T0730.mkv", datetime(2026, 11, 29, 7, 30)),
        ("door/2026-11-29/07-30-05.mp4", datetime(2026, 11, 29, 7, 30, 5)),
        ("door/2026-11-29/07.mp4", None),
        ("door/2026-02-31_07-30-05.mp4", None),
        ("door/12345678901234567890.mp4", None),
        ("door/clip.mp4", None),
    ],
)
def test_the_start_is_in_the_name(path: str, started: datetime | None) -> None:
    assert start_in_name(path) == started


def test_every_file_is_found_once(recordings_folder: Path, tmp_path: Path) -> None:
    found = find_recordings([str(recordings_folder / "**" / "*.mp4"), str(recordings_folder)])
    assert [(one.camera, Path(one.path).name) for one in found] == [
        ("door", "2026-11-29_07-30-00.mp4"),
        ("yard", "clip.mkv"),
    ]
    named = find_recordings([str(recordings_folder)], camera_pattern=r"recordings\d*/(.)")
    assert [one.camera for one in named] == ["d", "y"]
    (tmp_path / "notes.txt").touch()
    for pattern in (tmp_path, tmp_path / "*.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(MmpnetError, match=r"no video or image|no such file"):
            find_recordings([str(pattern)])
    with pytest.raises(MmpnetError, match="finds no camera"):
        find_recordings([str(recordings_folder)], camera_pattern="cellar/(.)")


def test_hidden_files_of_a_folder_are_left_out(recordings_folder: Path, tmp_path: Path) -> None:
    for name in ("door/a.mp4", "door/.mmpnet-0123.mp4", "door/._a.mp4", ".trash/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(recordings_folder / "yard" / "clip.mkv", tmp_path / name)
    for place in (str(tmp_path), f"file://{tmp_path}"):
        assert [Path(one.path).name for one in find_recordings([place])] == ["a.mp4"]
    for pattern in (f"{tmp_path}/.trash/*.mp4", f"file://{tmp_path}/.trash/*.mp4", f"file://{tmp_path}/.t*/*.mp4"):
        assert [Path(one.path).name for one in find_recordings([pattern])] == ["b.mp4"]
    assert [Path(one.path).name for one in find_recordings([f"file://{tmp_path}/**/*.mp4"])] == ["a.mp4"]


def test_addresses_are_listed_by_fsspec(recordings_folder: Path) -> None:
    for address in (f"file://{recordings_folder}", f"file://{recordings_folder}/**/*.mkv"):
        found = find_recordings([address])
        assert [one.camera for one in found] == (["yard"] if "mkv" in address else ["door", "yard"])
        assert all(one.is_address and one.size > 0 for one in found)
    with pytest.raises(MmpnetError):
        find_recordings(["nosuch://bucket/a.mp4"])
