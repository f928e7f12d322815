"""A real Ray cluster on this machine: a node that is killed in the middle loses no row, and GPUs are shared out."""

import secrets
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mmpnet.archive.results import result_files
from mmpnet.archive.settings import require_manifest
from mmpnet.archive.writing import read_record
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
    done = on_cluster("support.archive_cluster", archive, videos, tmp_path)
    assert "alive 2 of 3" in done
    assert "560 frames, 0 failed" in done
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_take_shares_of_a_gpu_and_the_results_say_so(archive: Archive, tmp_path: Path) -> None:
    videos = write_h264(tmp_path / "in" / "door" / "long.mp4", frames=100).parent
    write_h264(videos / "short.mp4", frames=20)
    archive.run(tmp_path / "one", videos)
    assert require_manifest(tmp_path / "one").providers == {"cpu": 120}
    lines = on_cluster("support.archive_gpus", archive, videos, tmp_path, "pretended").splitlines()
    assert lines == ["note: 1 machine without a GPU: no worker", "{'cuda': 120} 0"]
    assert require_manifest(tmp_path / "out").providers == {"cuda": 120}
    records = [read_record(path) for path in result_files(tmp_path / "out")]
    assert sorted(one.providers["cuda"] for one in records if one is not None) == [20, 100]
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_whose_gpu_does_not_start_ends_the_run_in_one_line(archive: Archive, tmp_path: Path) -> None:
    videos = write_h264(tmp_path / "in" / "door" / "short.mp4", frames=20).parent
    last = on_cluster("support.archive_gpus", archive, videos, tmp_path, "real").splitlines()[-1]
    assert last.startswith(f"error: a worker on {socket.gethostname()} cannot start: ")
    assert "cuda" in last.lower()
    assert result_files(tmp_path / "out") == []


def on_cluster(module: str, archive: Archive, videos: Path, place: Path, *more: str) -> str:
    """What the module prints that runs an archive into the folder `out` of a place."""
    settings = msgspec.json.encode(archive.settings).decode()
    arguments = [videos, place / "out", archive.model, settings, *more]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "HOME": str(place)}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment_of_tests() | token,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
