"""The walls between the rooms, and what the wheel contains."""

import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]
ROOMS = {"contract": "runtime", "runtime": "runtime", "train": "train", "export": "export"}


def test_import_linter_holds_the_walls() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_mmpnet_is_a_namespace_without_a_package_file() -> None:
    for root in set(ROOMS.values()):
        assert not (ROOT / root / "mmpnet" / "__init__.py").exists()
    for room, root in ROOMS.items():
        text = (ROOT / root / "mmpnet" / room / "__init__.py").read_text()
        # The runtime is the one that is imported as a package: `from mmpnet.runtime import Detector`.
        assert text == "" or room == "runtime"


def test_wheel_holds_every_module_of_every_room_and_nothing_else(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.chdir(ROOT)  # type: ignore[attr-defined]
    names = zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))).namelist()
    in_wheel = {name for name in names if name.endswith(".py")}
    in_tree = {
        path.relative_to(ROOT / root).as_posix()
        for root in set(ROOMS.values())
        for path in (ROOT / root / "mmpnet").rglob("*.py")
    }
    assert in_wheel == in_tree
    assert "mmpnet/runtime/serve/page.html" in names
    assert "mmpnet/runtime/models/person-320.onnx" in names
    assert "mmpnet/runtime/templates/report.html.j2" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mmpnet"}
