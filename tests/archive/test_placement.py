"""Which workers have a GPU, and which provider they use, follows from the options alone."""

from typing import Any

import pytest

from mmpnet.archive.placement import place_workers, worker_provider
from mmpnet.contract.errors import DeviceError
from mmpnet.runtime.inference.providers import Provider


def machine(cpus: int, gpus: int = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})}


@pytest.mark.parametrize(
    ("requested", "gpus", "used"),
    [
        ("auto", 0.0, "cpu"),
        ("cpu", 0.0, "cpu"),
        ("openvino", 0.0, "openvino"),
        ("auto", 0.25, "cuda"),
        ("cuda", 1.0, "cuda"),
        ("tensorrt", 2.0, "tensorrt"),
    ],
)
def test_the_provider_of_all_workers(requested: Provider, gpus: float, used: Provider) -> None:
    assert worker_provider(requested, gpus=gpus) == used


@pytest.mark.parametrize(
    ("requested", "gpus", "said"),
    [
        ("cuda", 0.0, "--provider cuda needs --gpus"),
        ("tensorrt", 0.0, "--provider tensorrt needs --gpus"),
        ("cpu", 0.5, r"--gpus 0\.5: --provider cpu uses no GPU"),
        ("auto", 1.5, r"--gpus 1\.5: .* a whole number"),
    ],
)
def test_options_that_contradict_one_another_are_refused(requested: Provider, gpus: float, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        worker_provider(requested, gpus=gpus)


@pytest.mark.parametrize(
    ("machines", "options", "workers"),
    [
        ([machine(8)], {}, 8),
        ([machine(8), machine(3)], {"threads": 2}, 5),
        ([machine(8), machine(8, alive=False)], {}, 8),
        ([machine(8)], {"workers": 3}, 3),
        ([machine(2)], {"workers": 3}, 2),
        ([machine(8, 1), machine(8)], {"gpus": 0.25}, 4),
        ([machine(2, 1), machine(8, 2)], {"gpus": 0.25}, 10),
        ([machine(8, 2)], {"gpus": 0.4}, 4),
        ([machine(8, 3), machine(8, 2)], {"gpus": 2.0}, 2),
        ([machine(8, 2)], {"gpus": 0.1, "threads": 4}, 2),
        ([machine(0), machine(4, 1)], {"gpus": 0.5, "workers": 1}, 1),
    ],
)
def test_workers_are_as_many_as_fit(machines: list[dict[str, Any]], options: dict[str, Any], workers: int) -> None:
    given = {"workers": 0, "threads": 1, "gpus": 0.0} | options
    assert place_workers(machines, **given, at="here").workers == workers


def test_machines_and_gpus_without_a_worker_are_named() -> None:
    mixed = [machine(0), machine(4, 1), machine(4), machine(4)]
    with_gpus = place_workers(mixed, workers=0, threads=1, gpus=0.5, at="here")
    assert with_gpus.notes == ("note: 2 machines without a GPU: no worker",)
    (note,) = place_workers(mixed, workers=0, threads=1, gpus=0.0, at="here").notes
    assert note.startswith("note: Ray has 1 GPU, which no worker uses")
    with pytest.raises(DeviceError, match=r"--gpus 0\.5: Ray finds no GPU at auto; leave --gpus out"):
        place_workers([machine(4)], workers=0, threads=1, gpus=0.5, at="at auto")
    with pytest.raises(DeviceError, match=r"no machine at auto with 8 cores and 0 GPUs for a worker"):
        place_workers([machine(4)], workers=0, threads=8, gpus=0.0, at="at auto")
