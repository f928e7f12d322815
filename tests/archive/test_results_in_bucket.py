"""Results in a bucket are those of a folder, whatever happens to a run and to the server."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import s3fs
from typer.testing import CliRunner

from mmpnet.archive import places, worker
from mmpnet.archive.places import place_of
from mmpnet.archive.query import QueryError, ask, opened
from mmpnet.archive.reading import detect_part
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.results import read_failed, result_files
from mmpnet.archive.run import prepare_folder
from mmpnet.archive.settings import require_manifest
from mmpnet.archive.tasks import Task, VideoPart
from mmpnet.cli.archive.command import app
from mmpnet.contract.errors import MissingExtraError, MmpnetError, OutputError, SourceError
from mmpnet.system import bucket_claims, buckets
from mmpnet.system.bucket_claims import BucketClaim, Lease
from mmpnet.system.buckets import BucketPath
from support.archives import Archive, in_this_process, mmp_archive, rows_of
from support.interruption import environment_of_tests
from support.s3_server import KEY, SECRET, bucket, s3_server

pytestmark = pytest.mark.slow
OUT = BucketPath("s3://results/of/november")
KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec
from mmpnet.archive.places import place_of
from mmpnet.archive.settings import Settings
from support.archives import Archive, in_this_process

recordings, out, model, settings, count = sys.argv[1:]
archive = Archive(Path(model), msgspec.json.decode(settings, type=Settings))
seen = []

def kill(task):
    seen.append(task)
    if len(seen) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)

place = place_of(out)
archive.run(place, Path(recordings), execute=in_this_process(place, archive.settings, done=kill))
"""


@pytest.fixture
def system() -> Iterator["s3fs.S3FileSystem"]:
    with bucket("results") as found:
        yield found


@pytest.fixture
def _short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BucketClaim", partial(BucketClaim, lease=Lease(refresh_s=0.1, lost_s=1.0)))


@pytest.fixture
def recordings(recordings_folder: Path, tmp_path: Path) -> Path:
    """A video that is split, one that is not, images of a camera with an odd name, and a file that is no video."""
    folder = tmp_path / "in"
    for path in ("door/2026-11-29_07-30-00.mp4", "yard/clip.mkv"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).symlink_to(recordings_folder / path)
    odd = folder / "gate 1%#?"
    odd.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imencode(".png", pixels)[1].tofile(odd / f"{number}.png")
    (folder / "yard" / "noise.mp4").write_bytes(b"no video" * 100)
    return folder


def test_all_that_a_run_leaves_equals_that_of_a_folder(
    archive: Archive, recordings: Path, tmp_path: Path, system: "s3fs.S3FileSystem"
) -> None:
    local = archive.run(tmp_path / "out", recordings)
    remote = archive.run(OUT, recordings)
    assert rows_of(OUT) == rows_of(tmp_path / "out")
    assert len(rows_of(OUT)) == 173
    assert read_failed(OUT) == read_failed(tmp_path / "out") != []
    times = {"started_at": "", "finished_at": "", "elapsed_s": 0.0}
    assert msgspec.structs.replace(remote, **times) == msgspec.structs.replace(local, **times)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert sorted(key.removeprefix(OUT.key + "/") for key in system.find(OUT.key)) == [
        name for name in names if not name.endswith(".lock")
    ]
    for key in system.find(OUT.key):
        content = system.cat_file(key)
        assert KEY.encode() not in content
        assert SECRET.encode() not in content


@pytest.mark.usefixtures("_short_lease", "system")
@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_killed_run_goes_on(
    archive: Archive, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    archive.run(tmp_path / "undisturbed", recordings)
    arguments = [recordings, OUT, archive.model, msgspec.json.encode(archive.settings).decode(), count]
    died = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], env=environment_of_tests(), check=False)
    assert died.returncode == -signal.SIGKILL
    assert require_manifest(OUT).finished_at is None
    seen: list[Task] = []
    read: list[VideoPart] = []

    def counted(part: VideoPart, *args: Any, **named: Any) -> tuple[int, int]:
        read.append(part)
        return detect_part(part, *args, **named)

    monkeypatch.setattr(worker, "detect_part", counted)
    work = in_this_process(OUT, archive.settings, done=seen.append)
    manifest = archive.run(OUT, recordings, resume=True, execute=work)
    assert rows_of(OUT) == rows_of(tmp_path / "undisturbed")
    assert (manifest.videos, manifest.images, manifest.frames, manifest.failed) == (2, 3, 173, 1)
    assert (len(seen), len(read)) == {1: (9, 4), 3: (9, 2), 6: (8, 0)}[count], "what is done is not done again"


@pytest.mark.usefixtures("_short_lease", "system")
def test_a_second_run_is_refused_while_the_first_one_lives(archive: Archive) -> None:
    def prepare(*, resume: bool) -> BucketClaim:
        claim = prepare_folder(OUT, archive.model, archive.settings, resume=resume, notify=told.append)
        assert isinstance(claim, BucketClaim)
        return claim

    told: list[str] = []
    with prepare(resume=False):
        with pytest.raises(OutputError, match=r"^s3://results/of/november: has results already; go on .* --resume"):
            prepare(resume=False)
        with pytest.raises(OutputError, match=r"manifest\.json: another run writes to it; stop that one"):
            prepare(resume=True)
        assert "is claimed by another run, or by one that was killed; this is known in at most 1 s" in told[-1]
    told.clear()
    prepare(resume=True).close()
    assert told == [], "a run that has ended leaves no claim"


@pytest.mark.usefixtures("_short_lease")
def test_a_run_that_lost_its_claim_ends_and_leaves_the_manifest_to_the_other_one(
    archive: Archive, recordings: Path, system: "s3fs.S3FileSystem"
) -> None:
    manifests: list[bytes] = []

    def taken_over(_: Task) -> None:
        system.pipe_file(f"{OUT.key}/manifest.json.lock", b"of another run")
        manifests.append(system.cat_file(f"{OUT.key}/manifest.json"))
        signal.sigtimedwait([], 0.5)

    work = in_this_process(OUT, archive.settings, done=taken_over)
    with pytest.raises(OutputError, match=r"another run took over, as this one did not reach the bucket for 1 s"):
        archive.run(OUT, recordings, execute=work)
    assert len(manifests) < 3
    assert system.cat_file(f"{OUT.key}/manifest.json") == manifests[0]
    assert system.cat_file(f"{OUT.key}/manifest.json.lock") == b"of another run"


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("abandoned", [False, True], ids=["free place", "claim of a killed run"])
def test_a_write_whose_answer_was_lost_is_not_a_lost_claim(
    abandoned: bool, monkeypatch: pytest.MonkeyPatch, system: "s3fs.S3FileSystem"
) -> None:
    refused = threading.Event()
    if abandoned:
        system.pipe_file(f"{OUT.key}.lock", b"of a run that was killed")

    def repeated(path: BucketPath, content: bytes, *, version: str | None) -> str | None:
        if buckets.write_if(path, content, version=version) is None:
            return None
        again = buckets.write_if(path, content, version=version)
        assert again is None
        refused.set()
        return again

    monkeypatch.setattr(bucket_claims, "write_if", repeated)
    with BucketClaim(OUT, lease=Lease(refresh_s=0.05, lost_s=1.0)) as claim:
        assert refused.is_set()
        for _ in range(3):
            refused.clear()
            assert refused.wait(20)
        claim.require_held()
        monkeypatch.undo()
    with BucketClaim(OUT, lease=Lease(refresh_s=0.05, lost_s=1.0)):
        pass  # the claim was released, so nobody waits for it


class WithoutConditions:
    """A server that writes whatever the condition is."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def call_s3(self, name: str, *, IfNoneMatch: str | None = None, **options: Any) -> Any:  # noqa: N803
        del IfNoneMatch
        return self._system.call_s3(name, **options)


def test_a_server_without_conditions_is_refused(
    archive: Archive, system: "s3fs.S3FileSystem", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "file_system", lambda: WithoutConditions(system))
    with pytest.raises(OutputError, match="without regard to conditions"):
        prepare_folder(OUT, archive.model, archive.settings, resume=False)
    assert system.find("results") == []


def test_a_bucket_that_is_absent_or_refuses_is_one_line(archive: Archive, system: "s3fs.S3FileSystem") -> None:
    def prepare(place: BucketPath) -> None:
        prepare_folder(place, archive.model, archive.settings, resume=False)

    with pytest.raises(OutputError, match=r"^s3://absent/a/manifest\.json.*\(The specified bucket does not exist\)"):
        prepare(BucketPath("s3://absent/a"))
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::results/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    system.call_s3("put_bucket_policy", Bucket="results", Policy=policy)
    with pytest.raises(OutputError, match=r"manifest\.json\.lock: cannot be written \(.+\); check address and access$"):
        prepare(OUT)


@pytest.mark.usefixtures("_short_lease")
def test_a_server_that_goes_away_ends_the_run_and_what_is_done_stays(
    archive: Archive, recordings: Path, tmp_path: Path
) -> None:
    seen: list[Task] = []
    with s3_server() as server:
        s3fs.S3FileSystem().mkdir("results")

        def stop(task: Task) -> None:
            seen.append(task)
            if len(seen) == 6:
                server.stop()

        with pytest.raises(OutputError, match=r"^s3://results/of/november/.* \(Could not connect .*\); check address"):
            archive.run(OUT, recordings, execute=in_this_process(OUT, archive.settings, done=stop))
        assert len(seen) == 6, "the run ends with the first result that cannot be written"
    archive.run(tmp_path / "undisturbed", recordings)
    with s3_server(empty=False):
        assert archive.run(OUT, recordings, resume=True).frames == 173
        assert rows_of(OUT) == rows_of(tmp_path / "undisturbed")


def test_the_command_writes_asks_and_reports(
    archive: Archive, recordings: Path, tmp_path: Path, system: "s3fs.S3FileSystem"
) -> None:
    archive.run(tmp_path / "one", recordings)
    arguments = [recordings, "-o", OUT, "--model", archive.model, "--part-minutes", 0.05, "--workers", 1]
    done = mmp_archive(*arguments, home=tmp_path)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"error: 1 file could not be read completely; {OUT}/failed.parquet says why"
    assert rows_of(OUT) == rows_of(tmp_path / "one")
    text = "camera = 'door' and hour between 7 and 9"
    answers = [
        CliRunner().invoke(app, ["query", str(place), text, "--format", "json"]) for place in (OUT, tmp_path / "one")
    ]
    assert answers[0].exit_code == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout != ""
    told = CliRunner().invoke(app, ["report", str(OUT)])
    assert told.exit_code == 0, told.stderr
    page = system.cat_file(f"{OUT.key}/report.html").decode()
    CliRunner().invoke(app, ["report", str(tmp_path / "one")])
    expected = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<svg") == expected.count("<svg") > 0
    assert page.count("noise.mp4") == expected.count("noise.mp4") > 0
    with opened(OUT) as connection:
        for forbidden in ("select * from 's3://results/of/november/failed.parquet'", "select * from glob('/etc/*')"):
            with pytest.raises(QueryError):
                ask(connection, forbidden)
    for path in result_files(OUT):
        system.rm_file(path.key)
    assert CliRunner().invoke(app, ["query", str(OUT), "score > 0", "--format", "csv"]).exit_code == 0
    absent = CliRunner().invoke(app, ["query", "s3://results/elsewhere", "score > 0"])
    assert absent.exit_code == 1
    assert absent.stderr.startswith("error: s3://results/elsewhere: has no manifest.json")


def test_addresses_that_cannot_hold_results_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("gs://bucket/a", "s3://", "s3:///a", "https://host/a"):
        with pytest.raises(OutputError, match="results go to a folder, or to s3://BUCKET/NAME"):
            place_of(text)
    for secret in (SECRET, "plain"):
        for read in (place_of, lambda text: find_recordings([text])):
            with pytest.raises(MmpnetError, match="a password is in an address of s3://") as told:
                read(f"s3://{KEY}:{secret}@bucket/a")
            assert secret not in str(told.value)
    with pytest.raises(SourceError, match="a password is in an address of sftp://"):
        find_recordings(["sftp://me:plain@host/a.mp4"])
    assert place_of("S3://bucket/a/") == place_of("s3://bucket/a") == BucketPath("s3://bucket") / "a"

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.filesystem", missing)
    with pytest.raises(MissingExtraError, match=r"^s3:// needs another package: Install s3fs"):
        require_manifest(OUT)


def test_a_claim_lasts_longer_than_a_few_failed_requests() -> None:
    lease = bucket_claims.Lease()
    assert lease.lost_s >= 4 * lease.refresh_s
