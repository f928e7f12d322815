"""Run the workers on all cores of one machine or of a cluster, by Ray Data.

Ray Data gives tasks to a pool of worker processes, starts those again that die, and gives their task to another one.
"""

import logging
import os
import pickle
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpnet.archive.placement import place_workers, worker_provider
from mmpnet.archive.places import Place, absolute
from mmpnet.archive.settings import Settings
from mmpnet.archive.tasks import ImageGroup, Outcome, Task
from mmpnet.archive.worker import Execute, OpenDetector, Worker
from mmpnet.contract.errors import DeviceError, MissingExtraError, MmpnetError, first_line
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.libraries import explain_import
from mmpnet.system.machine import whole_cores
from mmpnet.system.progress import Notice, no_notice

OBJECT_STORE_BYTES = 100_000_000
"""Only tasks and their outcomes go through Ray's memory, never frames."""
LONGEST_SOCKET_PATH = 107
SOCKET = "session_2026-11-29_07-30-00_123456_1234567/sockets/plasma_store"
"""The longest path that Ray makes within its temporary folder."""
_AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_ONLY_THIS_MACHINE = {
    # Ray's own address is then the loopback one, on Linux too. Otherwise it is the one from which 8.8.8.8 is reached,
    # and its ports are open to other machines.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""Set before Ray is imported and started on this machine."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where and on how much to run.

    address: of a Ray cluster, or `auto`; None starts Ray on this machine. workers: number of worker processes, 0 for as
    many as there are cores. threads: inference threads of each. gpus: how much of a GPU each worker takes; with 0, none
    uses one. open_detector: opens the model in a worker; it must be a function that a worker can import.
    """

    address: str | None = None
    workers: int = 0
    threads: int = 1
    gpus: float = 0.0
    provider: Provider = "auto"
    open_detector: OpenDetector = Detector


@contextmanager
def ray_workers(
    folder: Place, settings: Settings, options: EngineOptions, *, notify: Notice = no_notice
) -> Iterator[Execute]:
    """Connect to Ray, or start it, and yield a function that does tasks; Ray is left at the end.

    notify: hears of GPUs and machines that are not used.

    Raises: MissingExtraError without Ray; DeviceError if there is no cluster at the address, if no worker fits, or if
    provider and gpus contradict one another.
    """
    options = replace(options, provider=worker_provider(options.provider, gpus=options.gpus))
    with tempfile.TemporaryDirectory(prefix="mmpnet-", ignore_cleanup_errors=True) as temporary:
        _prepare(options)
        try:
            from mmpnet.system.ray_runtime import shut_down
        except Exception as error:  # a Ray that was built for other versions of its packages raises any error
            raise MissingExtraError(
                f"mmp-archive needs Ray: {explain_import(error, extra='cluster') or first_line(error)}"
            ) from error
        try:
            _start(options, Path(temporary))
            workers = _placed(options, notify)
            yield lambda tasks: _executed(tasks, absolute(folder), settings, replace(options, workers=workers))
        finally:
            shut_down(temporary)


def _prepare(options: EngineOptions) -> None:
    """Set what Ray reads from the environment when it is imported and started."""
    if options.address is None and not any(name in os.environ for name in _AUTH):
        # Ray itself would keep the token in a file in the home folder.
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    # Else Ray prints a warning from its C++ code in every run. Its fatal errors, and exceptions, still arrive.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if options.address is None:
        for name, value in _ONLY_THIS_MACHINE.items():
            os.environ.setdefault(name, value)


def _start(options: EngineOptions, temporary: Path) -> None:
    from mmpnet.system.ray_runtime import ray, ray_data, without_api_server

    longest = LONGEST_SOCKET_PATH - len(str(temporary.parent / SOCKET)) - len(os.sep)
    if options.address is None and longest < len(temporary.name):
        raise DeviceError(
            f"Ray's sockets do not fit into the temporary folder {temporary.parent}, as its path is "
            f"{counted(len(temporary.name) - longest, 'character')} too long; set TMPDIR to a shorter one"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    workers = options.workers or max(whole_cores() // options.threads, 1)
    try:
        if options.address is None:
            with without_api_server():
                ray.init(
                    num_cpus=int(workers * options.threads),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(temporary),
                    **quiet,
                )
        else:
            ray.init(address=options.address, **quiet)
    except Exception as error:
        where = "on this machine" if options.address is None else f"at {options.address}"
        advice = (
            "it needs some memory, and a processor that is not busy with other work"
            if options.address is None
            else "start a cluster with `ray start --head`, or leave --ray-address out"
        )
        raise DeviceError(f"Ray does not start {where} ({first_line(error)}); {advice}") from error
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _placed(options: EngineOptions, notify: Notice) -> int:
    """The number of workers. Raises: DeviceError if none fits."""
    from mmpnet.system.ray_runtime import ray

    placement = place_workers(
        ray.nodes(),  # type: ignore[no-untyped-call]
        workers=options.workers,
        threads=options.threads,
        gpus=options.gpus,
        at="on this machine" if options.address is None else f"at {options.address}",
    )
    for note in placement.notes:
        notify(note)
    return placement.workers


@dataclass(frozen=True, slots=True)
class _Job:
    """A task with all that a new worker process needs: arguments of a constructor would be lost with their machine."""

    folder: Place
    settings: Settings
    options: EngineOptions
    task: Task


class _RayWorker:
    """A worker in a process of Ray; it also counts for Ray's metrics."""

    def __init__(self) -> None:
        from mmpnet.system.ray_runtime import ray_metrics

        self._worker: Worker | None = None
        self._frames = ray_metrics.Counter("mmpnet_archive_frames", "Frames and images that were detected in.")
        self._video_s = ray_metrics.Counter("mmpnet_archive_video_seconds", "Length of the videos that are done.")
        self._failures = ray_metrics.Counter("mmpnet_archive_failures", "Files that could not be read completely.")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": [pickle.dumps(self._do(pickle.loads(content))) for content in batch["job"]]}

    def _do(self, job: _Job) -> Outcome:
        if self._worker is None:
            options = job.options
            try:
                self._worker = Worker(
                    job.folder,
                    job.settings,
                    provider=options.provider,
                    threads=options.threads,
                    open_detector=options.open_detector,
                )
            except MmpnetError as error:
                return Outcome(job.task, fatal=f"a worker on {socket.gethostname()} cannot start: {error}")
        outcome = self._worker(job.task)
        for counter, value in (
            (self._frames, outcome.frames),
            (self._video_s, outcome.video_s),
            (self._failures, len(outcome.failures)),
        ):
            if value:
                counter.inc(value)
        return outcome


def _executed(tasks: list[Task], folder: Place, settings: Settings, options: EngineOptions) -> Iterator[Outcome]:
    from mmpnet.system.ray_runtime import ray_data

    rows = [{"job": pickle.dumps(_Job(folder, settings, options, task))} for task in _images_last(tasks)]
    outcomes = ray_data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _RayWorker,
        batch_size=1,
        batch_format="numpy",
        # One task in flight for each worker, so that a worker that dies costs no more than its own. Ray starts further
        # workers only if tasks queue up at those that run, which they never do here; so all start at once.
        compute=ray_data.ActorPoolStrategy(size=min(options.workers, len(rows)), max_tasks_in_flight_per_actor=1),
        num_cpus=options.threads,
        num_gpus=options.gpus or None,
    )
    for row in outcomes.iter_rows():
        yield pickle.loads(row["outcome"])


def _images_last(tasks: list[Task]) -> list[Task]:
    """Videos first: a group of images at the end keeps all workers busy until the last moment."""
    return sorted(tasks, key=lambda task: isinstance(task, ImageGroup))
