"""Ray on this machine has no part that asks other machines."""

from pathlib import Path
from typing import Any

import pytest

from mmpnet.archive.ray_engine import EngineOptions, ray_workers
from mmpnet.archive.settings import Settings


@pytest.mark.slow
def test_ray_has_no_server_that_asks_cloud_providers_where_it_runs(settings: Settings, tmp_path: Path) -> None:
    with ray_workers(tmp_path, settings, EngineOptions(workers=1)):
        from ray._private import worker

        node: Any = worker._global_node
        assert {"gcs_server", "raylet"} <= set(node.all_processes)
        assert "dashboard" not in node.all_processes
