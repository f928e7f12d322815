"""A real Ray cluster on this machine: a node that is killed in the middle loses no row."""

import secrets
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support.archive_videos import write_h264
from support.archives import Archive, rows_of
from support.interruption import environment_of_tests


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_node_loses_nothing(archive: Archive, tmp_path: Path) -> None:
    videos = tmp_path / "in"
    write_h264(videos / "door" / "long.mp4", frames=400)
    for number in range(4):
        write_h264(videos / "yard" / f"short{number}.mp4", frames=40, seed=number)
    archive.run(tmp_path / "undisturbed", videos)
    settings = msgspec.json.encode(archive.settings).decode()
    arguments = [videos, tmp_path / "out", archive.model, settings]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "support.archive_cluster", *map(str, arguments)],
        env=environment_of_tests() | token,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "alive 2 of 3" in done.stdout
    assert "560 frames, 0 failed" in done.stdout
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")
