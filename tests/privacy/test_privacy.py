"""The settings that mmpnet.system.privacy makes, and user settings that it keeps."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmpnet.system import privacy


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are unset before each test and restored after it."""
    for name in (*privacy.OPT_OUTS, *privacy.CACHE_FOLDERS):
        monkeypatch.setenv(name, "")  # so that direct changes are undone too
        monkeypatch.delenv(name)


def test_usage_reports_are_off_unless_the_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    privacy.disable_usage_reports()
    assert {name: os.environ[name] for name in privacy.OPT_OUTS} == privacy.OPT_OUTS
    assert privacy.what_is_sent().startswith("nothing")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    privacy.disable_usage_reports()
    assert privacy.what_is_sent() == (
        "ONNX Runtime's usage reports may be on: ORT_DISABLE_TELEMETRY is '0'; unset it, or set it to 1"
    )


def test_caches_move_together_and_a_chosen_folder_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    privacy.move_caches()
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path)
    torch_cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert torch_cache.parent.name.startswith("mmpnet-")
    assert not torch_cache.parent.exists()


def test_without_a_temporary_folder_caches_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    privacy.move_caches()
    assert "MPLCONFIGDIR" not in os.environ


def test_ray_does_not_report_its_usage() -> None:
    """In a new process, as the setting must come before the import."""
    code = (
        "import mmpnet.system.ray_runtime; from ray._common.usage import usage_lib; "
        "print(usage_lib.usage_stats_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
