"""The workflows do what `.ci/run` does, on the versions that the project declares."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml
from packaging.requirements import Requirement

from support.rtsp_camera import PACKAGES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKE = re.compile(r"(?:^|sudo |&& )make ([a-z0-9]+)")


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(path.read_text())
    return content["jobs"]


def commands_of(name: str) -> list[str]:
    every = jobs(ROOT / ".github" / "workflows" / name).values()
    return [step["run"] for job in every for step in job["steps"] if "run" in step]


def test_every_make_target_of_ci_is_in_the_workflow() -> None:
    called = set(re.findall(r"^ *make ([a-z0-9]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert {"demo", "test", "release", "arm64"} <= called
    assert called - {target for run in commands_of("test.yml") for target in MAKE.findall(run)} == set()


def test_the_packages_without_which_tests_skip_are_installed_before_the_tests() -> None:
    steps = [step.get("run", "") for step in jobs(ROOT / ".github" / "workflows" / "test.yml")["test"]["steps"]]
    before = " ".join(steps[: steps.index("make test")]).split()
    assert {"mosquitto", "nginx-light", *PACKAGES.split()} - set(before) == set()


def test_the_matrices_are_the_declared_versions() -> None:
    every = jobs(ROOT / ".github" / "workflows" / "test.yml")
    found = set(every["test"]["strategy"]["matrix"]["python"]) | set(every["runtime"]["strategy"]["matrix"]["python"])
    prefix = "Programming Language :: Python :: "
    assert found == {one.removeprefix(prefix) for one in PROJECT["classifiers"] if one.startswith(prefix)}
    allowed = next(one for one in map(Requirement, PROJECT["optional-dependencies"]["cpu"]) if "opencv" in one.name)
    opencvs = every["runtime"]["strategy"]["matrix"]["opencv"]
    assert all(allowed.specifier.contains(one) for one in opencvs)
    pinned = re.search(r"^opencv-python==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] in opencvs


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_a_job_has_a_system_a_time_limit_where_it_runs_commands_and_no_right_it_does_not_use(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        assert job["runs-on"].startswith("ubuntu-"), name
        assert "timeout-minutes" in job or not any("run" in step for step in job["steps"]), name


def test_a_release_has_a_bill_of_materials_and_provenance_of_what_is_published() -> None:
    build, publish = (jobs(ROOT / ".github" / "workflows" / "release.yml")[name] for name in ("build", "publish"))
    attested = {
        step["uses"].split("@")[0]: step["with"].get("subject-path") for step in build["steps"] if "with" in step
    }
    assert "anchore/sbom-action" in attested
    assert attested["actions/attest-sbom"] == attested["actions/attest-build-provenance"] == "dist/*"
    assert publish["needs"] == "build"
