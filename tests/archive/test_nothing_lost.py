"""A run can stop at any moment and go on; files that cannot be read are listed with their reason."""

import errno
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmpnet.archive import worker as worker_module
from mmpnet.archive.attempts import Attempts
from mmpnet.archive.reading import detect_part
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.results import read_failed, result_files
from mmpnet.archive.run import prepare_folder
from mmpnet.archive.settings import read_manifest, require_manifest, write_manifest
from mmpnet.archive.tasks import Outcome, Task, VideoPart, WholeVideo
from mmpnet.archive.worker import WORK, Worker
from mmpnet.contract.errors import OutputError
from support.archive_videos import write_h264
from support.archives import Archive, in_this_process, rows_of
from support.interruption import environment_of_tests


def stop_after(count: int) -> Any:
    """A function that raises KeyboardInterrupt at its call number `count`."""
    calls = 0

    def called(task: Task) -> None:
        nonlocal calls
        del task
        calls += 1
        if calls == count:
            raise KeyboardInterrupt

    return called


@pytest.mark.parametrize("stopped_after", [1, 3, 5, 6])
def test_a_stopped_run_goes_on(archive: Archive, recordings_folder: Path, tmp_path: Path, stopped_after: int) -> None:
    archive.run(tmp_path / "undisturbed", recordings_folder)
    out = tmp_path / "out"
    work = in_this_process(out, archive.settings, done=stop_after(stopped_after))
    with pytest.raises(KeyboardInterrupt):
        archive.run(out, recordings_folder, execute=work)
    stopped = read_manifest(out)
    assert stopped is not None
    assert stopped.finished_at is None
    assert all(path.suffix == ".parquet" for path in out.rglob("*") if "frames" in path.parts and path.is_file())
    seen: list[Task] = []
    manifest = archive.run(
        out, recordings_folder, resume=True, execute=in_this_process(out, archive.settings, done=seen.append)
    )
    assert rows_of(out) == rows_of(tmp_path / "undisturbed")
    assert manifest.finished_at is not None
    assert (manifest.frames, manifest.videos, manifest.failed) == (170, 2, 0)
    assert not (out / WORK).exists()


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import msgspec
from mmpnet.archive import worker
from mmpnet.archive.settings import Settings
from support.archives import Archive

recordings, out, model, settings = sys.argv[1:]

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

worker.FrameWriter.finish = killed
Archive(Path(model), msgspec.json.decode(settings, type=Settings)).run(Path(out), Path(recordings))
"""


def test_what_a_killed_writer_leaves_is_not_among_the_results(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [recordings_folder, out, archive.model, msgspec.json.encode(archive.settings).decode()]
    code = [sys.executable, "-c", KILLED_WHILE_WRITING, *map(str, arguments)]
    assert subprocess.run(code, env=environment_of_tests(), check=False).returncode == -signal.SIGKILL
    unfinished = [path.relative_to(out) for path in out.rglob("*.parquet")]
    assert unfinished, "the writer was killed in the middle of a file"
    assert {path.parts[0] for path in unfinished} == {WORK}
    archive.run(out, recordings_folder, resume=True)
    archive.run(tmp_path / "undisturbed", recordings_folder)
    assert rows_of(out) == rows_of(tmp_path / "undisturbed")
    assert not (out / WORK).exists()


def test_parts_that_are_done_are_not_read_again(
    archive: Archive, recordings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        archive.run(out, recordings_folder, execute=in_this_process(out, archive.settings, done=stop_after(4)))
    read: list[VideoPart] = []

    def counted(part: VideoPart, *args: Any, **named: Any) -> tuple[int, int]:
        read.append(part)
        return detect_part(part, *args, **named)

    monkeypatch.setattr(worker_module, "detect_part", counted)
    archive.run(out, recordings_folder, resume=True)
    assert [part.number for part in read] == [3]


def test_a_finished_run_has_nothing_to_do_and_new_recordings_are_added(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "out", tmp_path / "more"
    archive.run(out, recordings_folder / "yard")

    def nobody(tasks: list[Task]) -> Iterator[Outcome]:
        raise AssertionError(tasks)

    again = archive.run(out, recordings_folder / "yard", resume=True, execute=nobody)
    assert (again.videos, again.frames) == (1, 20)
    write_h264(more / "gate" / "a.mp4", frames=10)
    grown = archive.run(out, recordings_folder / "yard", more, resume=True)
    assert (grown.videos, grown.frames) == (2, 30)
    write_h264(more / "gate" / "a.mp4", frames=13)
    changed = archive.run(out, recordings_folder / "yard", more, resume=True)
    assert (changed.videos, changed.frames) == (2, 33)
    assert len(rows_of(out)) == 33


def test_results_of_other_settings_are_not_mixed(archive: Archive, recordings_folder: Path, tmp_path: Path) -> None:
    archive.run(tmp_path, recordings_folder / "yard")
    with pytest.raises(OutputError, match="--resume"):
        archive.run(tmp_path, recordings_folder / "yard")
    other = msgspec.structs.replace(archive.settings, conf=0.7)
    with pytest.raises(OutputError, match=r"conf 0\.3.*0\.7"):
        archive.run(tmp_path, recordings_folder / "yard", resume=True, settings=other)
    cameras = msgspec.structs.replace(archive.settings, camera_pattern="in/(.*)")
    with pytest.raises(OutputError, match=r"camera_pattern None.*in/"):
        archive.run(tmp_path, recordings_folder / "yard", resume=True, settings=cameras)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second mount that tests may write to")
def test_results_on_another_mount_are_those_of_this_one(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        other = Path(name)
        assert other.stat().st_dev != tmp_path.stat().st_dev
        archive.run(other / "out", recordings_folder / "yard")
        archive.run(tmp_path, recordings_folder / "yard")
        assert rows_of(other / "out") == rows_of(tmp_path)


def test_resuming_says_what_differs_where_results_may_be_mixed(archive: Archive, tmp_path: Path) -> None:
    told: list[str] = []

    def prepare(patterns: list[str], provider: str, *, resume: bool = True) -> list[str]:
        told.clear()
        with prepare_folder(
            *(tmp_path / "out", archive.model, archive.settings),
            resume=resume,
            patterns=patterns,
            provider=provider,
            notify=told.append,
        ):
            return list(told)

    out = tmp_path / "out"
    assert prepare(["door/"], "cpu") == [f"note: {out} has no results yet, so --resume starts with the first recording"]
    assert prepare(["door/"], "cpu") == []
    (line,) = prepare(["yard/"], "cpu")
    assert line == f"note: {out} also keeps the results of door/, which this run does not name"
    assert prepare(["door/", "yard/"], "cpu") == []
    (line,) = prepare(["yard/", "door/"], "cuda")
    assert f"the results in {out} were computed by cpu, this run uses cuda" in line
    manifest = require_manifest(out)
    assert manifest.patterns == ("door/", "yard/")
    write_manifest(out, msgspec.structs.replace(manifest, mmpnet_version="0.0.7"))
    (line,) = prepare(["yard/", "door/"], "cuda")
    assert "are of mmpnet 0.0.7, this is" in line


def test_unreadable_files_are_listed_and_tried_again(archive: Archive, recordings_folder: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    whole = write_h264(source / "door" / "cut.mp4", frames=30)
    content = whole.read_bytes()
    (source / "door" / "noise.mp4").write_bytes(b"no video" * 100)
    (source / "door" / "empty.jpg").write_bytes(b"")
    cut = (recordings_folder / "yard" / "clip.mkv").read_bytes()
    (source / "door" / "truncated.mkv").write_bytes(cut[: len(cut) * 2 // 3])
    manifest = archive.run(out, source)
    failed = {Path(one.source).name: one for one in read_failed(out)}
    assert set(failed) == {"noise.mp4", "empty.jpg", "truncated.mkv"}
    assert manifest.failed == 3
    assert "truncated" in failed["truncated.mkv"].reason
    assert failed["truncated.mkv"].frames == sum(row["source"].endswith("truncated.mkv") for row in rows_of(out)) > 0
    (source / "door" / "noise.mp4").write_bytes(content)
    manifest = archive.run(out, source, resume=True)
    assert {Path(one.source).name for one in read_failed(out)} == {"empty.jpg", "truncated.mkv"}
    assert manifest.failed == 2


def test_a_file_that_kills_its_reader_is_given_up(archive: Archive, recordings_folder: Path, tmp_path: Path) -> None:
    archive.run(tmp_path, recordings_folder / "door")
    (video,) = find_recordings([str(recordings_folder / "yard")])
    task = WholeVideo(video)
    code = "import os, sys; from pathlib import Path; from mmpnet.archive.attempts import Attempts; "
    code += "Attempts(Path(sys.argv[1])).counted(sys.argv[2], lambda: os._exit(9))"
    for _ in range(Attempts.most):
        died = subprocess.run([sys.executable, "-c", code, str(tmp_path / WORK), task.name], check=False)
        assert died.returncode == 9
    worker = Worker(tmp_path, archive.settings, provider="cpu", threads=1)
    (failure,) = worker(task).failures
    assert "died 3 times" in failure.reason
    assert worker(task).failures == (), "a later run tries again"


@pytest.mark.parametrize("place", ["detect_whole", "FrameWriter"])
def test_a_full_disk_ends_the_run_and_keeps_what_is_done(
    archive: Archive, recordings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    archive.run(tmp_path, recordings_folder / "yard")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, place, full)
        write_h264(tmp_path / "more" / "gate" / "a.mp4", frames=10)
        with pytest.raises(OutputError, match="free space"):
            archive.run(tmp_path, tmp_path / "more", resume=True)
    stopped = read_manifest(tmp_path)
    assert stopped is not None
    assert stopped.finished_at is None
    assert len(result_files(tmp_path)) == 1
    assert archive.run(tmp_path, tmp_path / "more", resume=True).videos == 2


def test_an_unexpected_error_is_the_reason_of_one_file(
    archive: Archive, recordings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(worker_module, "split_video", broken)
    manifest = archive.run(tmp_path, recordings_folder)
    assert (manifest.videos, manifest.frames, manifest.failed) == (2, 170, 0), "a video that is not split is read whole"
    monkeypatch.setattr(worker_module, "write_tracked", broken)
    write_h264(tmp_path / "more" / "gate" / "a.mp4", frames=10)
    assert archive.run(tmp_path, tmp_path / "more", resume=True).failed == 1
    assert "TypeError: a mistake of ours" in read_failed(tmp_path)[0].reason
