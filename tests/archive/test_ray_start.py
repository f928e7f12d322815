"""A Ray that does not start is one line, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmpnet.archive.ray_engine import EngineOptions, ray_workers
from mmpnet.archive.settings import Settings
from mmpnet.contract.errors import DeviceError

FAILING_START = """
import subprocess, sys, tempfile
from mmpnet.archive import ray_engine
from mmpnet.contract.errors import DeviceError
from mmpnet.system import ray_runtime

def times_out(**options):
    folder = options["_temp_dir"]
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", folder])
    raise Exception("The current node timed out during startup.")

ray_runtime.ray.init = times_out
try:
    with ray_engine.ray_workers(None, None, ray_engine.EngineOptions(workers=1)):
        pass
except DeviceError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_ray_that_does_not_start_in_time_is_one_line_and_leaves_no_process() -> None:
    with tempfile.TemporaryDirectory(prefix="m-", dir="/tmp") as temporary:
        done = subprocess.run(
            [sys.executable, "-c", FAILING_START],
            env=os.environ | {"TMPDIR": temporary},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,  # stdout stays open for as long as a process that was started lives
        )
        assert done.stdout.startswith("Ray does not start on this machine (The current node timed out during startup")
        assert len(done.stdout.splitlines()) == 1
        assert list(Path(temporary).iterdir()) == []


@pytest.mark.slow
def test_a_long_temporary_folder_is_named_before_ray_starts(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with (
        pytest.raises(DeviceError, match=r"as its path is \d+ characters too long; set TMPDIR"),
        ray_workers(tmp_path, settings, EngineOptions(workers=1)),
    ):
        pass
