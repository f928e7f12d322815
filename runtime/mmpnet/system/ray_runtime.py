"""Ray with its usage reports switched off; all other modules import `ray` from here."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmpnet.system.privacy import disable_usage_reports

disable_usage_reports()

import ray  # noqa: E402 - usage reports must be off before
from ray import data as ray_data  # noqa: E402
from ray._private import services  # noqa: E402
from ray.util import metrics as ray_metrics  # noqa: E402

__all__ = ["ray", "ray_data", "ray_metrics", "without_api_server"]


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
