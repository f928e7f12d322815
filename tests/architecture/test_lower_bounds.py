"""The declared oldest versions are those that `make oldest` installs."""

from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def project() -> dict[str, list[str]]:
    """Requirements by extra; the base requirements have the name ""."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": content["dependencies"], **content["optional-dependencies"]}


def lower_bound(requirement: Requirement) -> Version:
    return Version(next(one.version for one in requirement.specifier if one.operator == ">="))


def test_every_oldest_version_is_a_lower_bound() -> None:
    wanted = {one.name: one for one in map(Requirement, [*project()[""], *project()["cpu"]])}
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert {name: Version(version) for name, version in pinned.items()} == {
        name: lower_bound(one) for name, one in wanted.items()
    }


def test_versions_with_known_holes_and_crashes_are_excluded() -> None:
    declared: dict[str, list[Requirement]] = {}
    for requirement in (Requirement(text) for extra in project().values() for text in extra):
        declared.setdefault(requirement.name, []).append(requirement)
    for name, version in (
        ("onnxruntime", "1.17.3"),  # crashes with numpy 2
        ("onnxruntime", "1.21.0"),  # crashes on a Cortex-A72
        ("onnxruntime-gpu", "1.21.0"),
        ("opencv-python", "4.10.0.84"),  # CVE-2025-53644
        ("opencv-python-headless", "4.11.0.86"),
        ("torch", "2.9.1"),  # CVE-2026-24747
        ("onnx", "1.20.0"),  # CVE-2026-27489
        ("starlette", "1.0.0"),  # CVE-2026-48710
        ("h11", "0.14.0"),  # CVE-2025-43859
        ("jinja2", "3.1.5"),  # CVE-2025-27516
    ):
        assert not any(one.specifier.contains(version) for one in declared[name]), name


def test_the_base_brings_neither_opencv_nor_onnxruntime() -> None:
    assert not any(one.startswith(("opencv", "onnxruntime")) for one in [*project()[""], *project()["train"]])
