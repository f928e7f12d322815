"""Import contracts cover every package, and the wheel contains exactly the package."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib
from hatchling.build import build_wheel

import mmpnet

ROOT = Path(__file__).parents[2]
ROOMS = {
    path.parent.name: path.parents[2].name
    for root in ("runtime", "train", "export")
    for path in (ROOT / root / "mmpnet").glob("*/__init__.py")
}


def test_import_linter_holds_the_walls() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_every_package_is_known_to_import_linter_and_mypy() -> None:
    """Import Linter does not report a package of a namespace that its configuration leaves out."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = {f"mmpnet.{room}" for room in ROOMS}
    floors = tools["importlinter"]["contracts"][0]["layers"]
    assert set(tools["importlinter"]["root_packages"]) == packages
    assert {name for floor in floors for name in floor.split(" | ")} == packages
    assert set(tools["mypy"]["files"]) >= {*ROOMS.values(), "benchmarks"}


def test_no_benchmark_imports_onnxruntime_itself() -> None:
    """onnxruntime sends usage reports at import; `mmpnet.system.onnx_runtime` disables that first. For the packages, a
    contract of Import Linter checks this."""
    scripts = list((ROOT / "benchmarks").rglob("*.py"))
    importing = re.compile(r"^\s*(import|from) onnxruntime\b", re.MULTILINE)
    assert importing.search("import onnxruntime as ort")
    assert [path.name for path in scripts if importing.search(path.read_text())] == []


def test_mmpnet_has_one_package_file_and_its_packages_are_empty_or_name_the_api() -> None:
    assert [(ROOT / root / "mmpnet" / "__init__.py").exists() for root in ("runtime", "train", "export")] == [
        True,
        False,
        False,
    ]
    for room, root in ROOMS.items():
        text = (ROOT / root / "mmpnet" / room / "__init__.py").read_text()
        # `from mmpnet.runtime import Detector` imports the runtime as a package.
        assert text == "" or room in ("runtime", "train", "export")


def test_mmpnet_is_one_package_in_three_folders_and_knows_its_version() -> None:
    assert mmpnet.__version__ == version("mmpnet")
    assert "__version__" in dir(mmpnet)
    for root in ("runtime", "train", "export"):
        assert str(ROOT / root / "mmpnet") in mmpnet.__path__
    with pytest.raises(AttributeError, match="'mmpnet' has no attribute '__versoin__'"):
        _ = mmpnet.__versoin__


def test_naming_the_packages_loads_nothing() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy'}"
    code = f"import sys, mmpnet.runtime, mmpnet.train, mmpnet.export; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
    assert "mmpnet/runtime/web/page.html" in names
    assert "mmpnet/runtime/models/person-320.onnx" in names
    assert "mmpnet/reporting/templates/report.html.j2" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mmpnet"}
