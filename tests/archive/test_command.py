"""The command: arguments, missing packages, and a run by Ray on this machine."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpnet.archive.progress import Progress
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.tasks import Failure, Outcome, WholeVideo
from mmpnet.cli.archive import command
from mmpnet.cli.archive.command import app
from mmpnet.cli.archive.progress_display import duration, progress_line
from support.archives import Archive, mmp_archive, rows_of


@pytest.mark.parametrize("name", ["ray", "pyarrow"])
def test_without_the_packages_one_line_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(command, "find_spec", lambda module: None if module == name else object())
    done = CliRunner().invoke(app, ["*.mp4", "-o", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"error: mmp-archive needs {name}: pip install 'mmpnet[cluster]'"]


def test_a_ray_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recordings_folder: Path
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *(one for one in sys.path if one)]))
    done = mmp_archive(recordings_folder, "-o", tmp_path / "out", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: mmp-archive needs Ray: ray cannot be loaded (numpy.dtype size changed); pip install"
    )
    assert "Traceback" not in done.stderr


def test_mistakes_are_one_line_before_ray_starts(tmp_path: Path, recordings_folder: Path) -> None:
    out = str(tmp_path / "out")
    for arguments, said in (
        (["absent.mp4", "-o", out], "no such file"),
        ([str(recordings_folder), "-o", out, "--camera-pattern", "("], "no regular expression"),
        ([str(recordings_folder), "-o", out, "--model", "absent.onnx"], "absent.onnx"),
        ([str(recordings_folder), "-o", str(recordings_folder / "yard" / "clip.mkv")], "is not a folder"),
        ([str(recordings_folder), "-o", "gs://bucket/out"], "gs://bucket/out: results go to a folder, or to s3://"),
        ([str(recordings_folder), "-o", out, "--provider", "cuda"], "--provider cuda needs --gpus"),
        ([str(recordings_folder), "-o", out, "--provider", "cpu", "--gpus", "0.5"], "--provider cpu uses no GPU"),
        ([str(recordings_folder), "-o", out, "--metrics", "a.txt"], "a.txt: ends in .txt; expected .prom"),
        (["absent://bucket/a", "-o", out], "absent://bucket/a: cannot be listed"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code in (1, 2)
        assert said in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_progress_tells_hours_rate_time_left_and_failures(recordings_folder: Path) -> None:
    (video,) = find_recordings([str(recordings_folder / "yard")])
    progress = Progress(total_s=7200.0, total_images=0)
    failure = Failure(video.source, video.camera, "broken")
    progress.add(Outcome(WholeVideo(video), frames=900, video_s=1800.0, failures=(failure,)), elapsed_s=90.0)
    assert progress_line(progress) == (
        "reading: 25%, 0.50 of 2.00 h of video, 10.0 frames/s, 4 min left, 1 failed file"
    )
    short = Progress(total_s=20.0, total_images=0)
    short.add(Outcome(WholeVideo(video), frames=50, video_s=5.0), elapsed_s=5.0)
    assert progress_line(short).startswith("reading: 25%, 5 s of 20 s of video, ")
    assert [duration(value) for value in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]


@pytest.mark.slow
def test_ray_on_this_machine_gives_what_one_process_gives(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    archive.run(tmp_path / "one", recordings_folder)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "noise.mp4").write_bytes(b"no video" * 100)
    arguments = ["file://" + str(recordings_folder / "yard"), recordings_folder / "door", tmp_path / "more"]
    arguments += ["-o", tmp_path / "out", "--model", archive.model, "--part-minutes", 0.05, "--workers", 1]
    done = mmp_archive(*arguments, home=tmp_path)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"error: 1 file could not be read completely; {tmp_path / 'out' / 'failed.parquet'} says why"
    rows = [row | {"source": row["source"].removeprefix("file://")} for row in rows_of(tmp_path / "out")]
    assert sorted(rows, key=lambda row: (row["source"], row["frame"])) == rows_of(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "one", "out"], "nothing in the home folder"
