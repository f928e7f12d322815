"""Ray with its usage reports switched off; all other modules import `ray` from here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mmpnet.system.privacy import disable_usage_reports

disable_usage_reports()

import ray  # noqa: E402 - usage reports must be off before
from ray import data as ray_data  # noqa: E402
from ray._private import services, worker  # noqa: E402
from ray.util import metrics as ray_metrics  # noqa: E402

__all__ = ["ray", "ray_data", "ray_metrics", "shut_down", "without_api_server"]

END_TIMEOUT_S = 10.0
_show = getattr(worker, "print_to_stdstream", None)  # a private name, which another version may not have


def _show_on_stderr(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Ray's own function prints on stdout, for example, that a worker died; stdout is for results."""
    assert _show is not None
    _show({**data, "is_err": True}, ignore_prefix)


if _show is not None:
    worker.print_to_stdstream = _show_on_stderr


@contextmanager
def without_api_server() -> Iterator[None]:
    """In this block, Ray starts on this machine without the server of its dashboard.

    `include_dashboard=False` still starts it for the usage reports. Even if these are off, it then asks the addresses
    of three cloud providers which of them this machine belongs to. Ray itself goes on without the server if it fails
    to start, and this is what it is told here.
    """
    start = services.start_api_server
    services.start_api_server = lambda *_args, **_options: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def shut_down(session_folder: str) -> None:
    """Leave Ray, and wait until its processes of this machine have ended; those that do not are killed.

    A worker that runs on after Ray's own shutdown writes into temporary folders that are already removed, and a start
    that failed leaves all that was started.
    session_folder: the folder that the processes of this session, and no others, name in their arguments.
    """
    import psutil  # Ray brings its own

    time_left_s = END_TIMEOUT_S if ray.is_initialized() else 0.0
    started = _processes_of(session_folder)
    ray.shutdown()
    while started:
        _, alive = psutil.wait_procs(started, timeout=time_left_s)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
        time_left_s = 0.0
        started = _processes_of(session_folder)  # those that they had just started


def _processes_of(session_folder: str) -> list[Any]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.pid != os.getpid() and any(session_folder in argument for argument in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return found
