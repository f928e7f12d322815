"""Ray on this machine: every worker works, and no part of it asks other machines."""

import functools
import os
import pickle
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmpnet.archive import ray_engine
from mmpnet.archive.ray_engine import EngineOptions, ray_workers
from mmpnet.archive.settings import Settings
from mmpnet.archive.tasks import Outcome, Task
from support.archive_videos import write_h264
from support.archive_workers import detector_after_all_started
from support.archives import Archive, rows_of
from support.interruption import environment_of_tests


@pytest.mark.slow
def test_ray_has_no_server_that_asks_cloud_providers_where_it_runs(settings: Settings, tmp_path: Path) -> None:
    with ray_workers(tmp_path, settings, EngineOptions(workers=1)):
        from ray._private import worker

        node: Any = worker._global_node
        assert {"gcs_server", "raylet"} <= set(node.all_processes)
        assert "dashboard" not in node.all_processes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_workers_work_at_the_same_time(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment_of_tests()["PYTHONPATH"])
    videos = tmp_path / "in"
    for number in range(4):
        write_h264(videos / f"{number}.mp4", frames=2, seed=number)
    opener = functools.partial(detector_after_all_started, folder=tmp_path / "started", workers=2)
    out = tmp_path / "out"
    seen: list[Outcome] = []
    with ray_workers(out, archive.settings, EngineOptions(workers=2, open_detector=opener)) as execute:
        archive.run(out, videos, execute=lambda tasks: noted(execute(tasks), seen))
    assert len(seen) == 4
    assert len({one.worker for one in seen}) == 2


def test_a_worker_counts_for_the_metrics_of_ray(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: defaultdict[str, float] = defaultdict(float)
    described: dict[str, str] = {}

    class Counted:
        def __init__(self, name: str, description: str) -> None:
            self._name = name
            described[name] = description

        def inc(self, value: float) -> None:
            counted[self._name] += value

    monkeypatch.setattr("mmpnet.system.ray_runtime.ray_metrics.Counter", Counted)
    (tmp_path / "in").mkdir()
    write_h264(tmp_path / "in" / "good.mp4", frames=20)
    (tmp_path / "in" / "damaged.mp4").write_bytes(b"no video")
    worker = ray_engine._RayWorker()

    def execute(tasks: list[Task]) -> Iterator[Outcome]:
        jobs = [ray_engine._Job(tmp_path / "out", archive.settings, EngineOptions(workers=1), task) for task in tasks]
        answers = worker({"job": [pickle.dumps(job) for job in jobs]})
        yield from map(pickle.loads, answers["outcome"])

    manifest = archive.run(tmp_path / "out", tmp_path / "in", execute=execute)
    assert counted["mmpnet_archive_frames"] == manifest.frames == 20
    assert counted["mmpnet_archive_failures"] == 1
    assert counted["mmpnet_archive_video_seconds"] == pytest.approx(manifest.video_s)
    assert set(counted) == set(described)
    assert all(described.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_costs_no_row_and_leaves_stdout_to_the_results(
    archive: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "in"
    for number in range(30):  # so many that the worker surely has a task when it is killed
        write_h264(videos / f"{number}.mp4", frames=20, seed=number)
    archive.run(tmp_path / "undisturbed", videos)
    out = tmp_path / "out"
    with ray_workers(out, archive.settings, EngineOptions(workers=2)) as execute:
        archive.run(out, videos, execute=lambda tasks: killed_after_the_first(execute(tasks)))
    assert rows_of(out) == rows_of(tmp_path / "undisturbed")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "died" in shown.err
    of_ray = [line for line in shown.err.splitlines() if ".cc:" in line]
    # Ray reports that it was told to be quiet before it is.
    assert [line for line in of_ray if "Set ray log level" not in line] == []


def killed_after_the_first(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    for number, one in enumerate(outcomes):
        if number == 0:
            os.kill(int(one.worker.rpartition(":")[2]), signal.SIGKILL)
        yield one


def noted(outcomes: Iterator[Outcome], seen: list[Outcome]) -> Iterator[Outcome]:
    for one in outcomes:
        seen.append(one)
        yield one
