"""Run archives in the process of the test, and read their results."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmpnet.archive.places import Place, reading
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.results import result_files
from mmpnet.archive.run import Watcher, prepare_folder, run_archive
from mmpnet.archive.settings import Manifest, Settings
from mmpnet.archive.tasks import Outcome, Task
from mmpnet.archive.worker import Execute, Worker
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import file_sha256

PART_S = 3.0
ENTRY = "from mmpnet.cli.entry import archive; archive()"


def settings_with(model: Path) -> Settings:
    """Those of a model's own thresholds, with tracking."""
    detector = Detector(model, provider="cpu", threads=1)
    return Settings(
        model_name=model.name,
        model_sha256=file_sha256(model),
        class_names=tuple(detector.class_names),
        conf=detector.thresholds.conf,
        iou=detector.thresholds.iou,
        max_det=detector.thresholds.max_det,
    )


@dataclass(frozen=True)
class Archive:
    """Runs archives in this process, without Ray."""

    model: Path
    settings: Settings

    def run(
        self,
        folder: Place,
        *patterns: Path,
        resume: bool = False,
        settings: Settings | None = None,
        execute: Execute | None = None,
        watcher: Watcher | None = None,
    ) -> Manifest:
        """Detect in all files of the patterns, with parts of PART_S seconds."""
        chosen = settings or self.settings
        recordings = find_recordings([str(one) for one in patterns])
        with prepare_folder(folder, self.model, chosen, resume=resume) as claim:
            work = execute or in_this_process(folder, chosen)
            return run_archive(recordings, folder, work, part_s=PART_S, watcher=watcher, claim=claim)


def in_this_process(folder: Place, settings: Settings, *, done: Callable[[Task], None] = lambda _: None) -> Execute:
    """Do tasks one after the other; `done` hears of each."""

    def execute(tasks: list[Task]) -> Iterator[Outcome]:
        worker = Worker(folder, settings, provider="cpu", threads=1)
        for task in tasks:
            yield worker(task)
            done(task)

    return execute


def rows_of(folder: Place) -> list[dict[str, Any]]:
    """All rows, in order of source and frame."""
    rows: list[dict[str, Any]] = []
    for path in result_files(folder):
        with reading(path) as local:
            rows += pq.read_table(local, partitioning=None).to_pylist()
    return sorted(rows, key=lambda row: (row["source"], row["frame"]))


def mmp_archive(*arguments: object, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in its own process, which starts Ray, with an empty home folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *map(str, arguments)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
