"""Every script of benchmarks/ runs with tiny settings, and --json prints one document of finite numbers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomllib
import torch
import typer
from torchvision.models import mobilenet_v2
from typer.testing import CliRunner

import ablation
import accuracy
import adapt
import add_class
import allocator
import archive
import box_voting
import cameras
import event_cost
import event_latency
import events_per_hour
import export_graph
import headline
import held_out_source
import install_size
import latency
import mean_weights
import near_duplicates
import paced
import page
import peers
import recording
import shape_accuracy
import shapes
import shards
import soak
import stages
import startup
import strided_depthwise
import train_in_minutes
import training
import without_sources
from mmpnet.datasets.open import open_dataset
from support.coco_writer import write_coco
from support.frames import write_video
from support.mosquitto import MOSQUITTO

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
APPS: dict[str, typer.Typer] = {
    "ablation.py": ablation.app,
    "accuracy.py": accuracy.app,
    "adapt.py": adapt.app,
    "add_class.py": add_class.app,
    "allocator.py": allocator.app,
    "box_voting.py": box_voting.app,
    "cameras.py": cameras.app,
    "archive.py": archive.app,
    "strided_depthwise.py": strided_depthwise.app,
    "event_cost.py": event_cost.app,
    "event_latency.py": event_latency.app,
    "events_per_hour.py": events_per_hour.app,
    "export_graph.py": export_graph.app,
    "headline.py": headline.app,
    "held_out_source.py": held_out_source.app,
    "install_size.py": install_size.app,
    "latency.py": latency.app,
    "mean_weights.py": mean_weights.app,
    "near_duplicates.py": near_duplicates.app,
    "page.py": page.app,
    "paced.py": paced.app,
    "peers.py": peers.app,
    "recording.py": recording.app,
    "shape_accuracy.py": shape_accuracy.app,
    "shapes.py": shapes.app,
    "shards.py": shards.app,
    "soak.py": soak.app,
    "stages.py": stages.app,
    "startup.py": startup.app,
    "train_in_minutes.py": train_in_minutes.app,
    "training.py": training.app,
    "without_sources.py": without_sources.app,
}
SMALL = "person-224-int8"
FRAME = ("--frame-size", "96x64")


@dataclass(frozen=True)
class Given:
    """Inputs of the scripts: a folder, images, weights, a model and its checkpoint."""

    out: Path
    data: Path
    weights: Path
    model: Path
    checkpoint: Path


def view_of(given: Given) -> Path:
    """A camera with enough images to hold some out."""
    return write_coco(given.out / "view.json", count=40, seed=6)


def balloons_of(given: Given) -> Path:
    """A folder with images of another class."""
    folder = given.out / "balloons"
    for split, count in (("train", 8), ("val", 4)):
        path = write_coco(folder / f"{split}.json", count=count, seed=count)
        path.write_text(path.read_text().replace('"person"', '"balloon"'))
    return folder


Arguments = Callable[[Given], list[object]]
SCRIPTS: dict[str, Arguments] = {
    "accuracy.py": lambda given: [SMALL, "--data", given.data, "--figure", given.out / "curves.png"],
    "adapt.py": lambda given: [
        *("--data", view_of(given), "--source", "synthetic", "--learn", "street", "--hold-out", "yard"),
        *("--labels", 9, "--model", given.model, "--weights", "none", "--minutes", 0.01, "--out", given.out / "views"),
    ],
    "add_class.py": lambda given: [
        *("--data", given.data / "train.json", "--new", balloons_of(given), "--name", "balloon"),
        *("--measure", given.data / "val.json", "--out", given.out / "balloon", "--images", 8, "--epochs", 1),
        *("--imgsz", 64, "--weights", "none", "--teacher", given.model),
    ],
    "cameras.py": lambda _: [SMALL, *FRAME, "--count", 2, "--seconds", 4],
    "allocator.py": lambda _: ["--batch", 2, "--imgsz", 64, "--steps", 1, "--rounds", 1],
    "archive.py": lambda _: [SMALL, *FRAME, "--videos", 1, "--seconds", 0.4, "--repeats", 1],
    "strided_depthwise.py": lambda _: ["--batch", 2, "--imgsz", 64, "--rounds", 1],
    "event_cost.py": lambda _: [*FRAME, "--frames", 60],
    "events_per_hour.py": lambda given: [
        *("--model", given.model, write_video(given.out / "empty.avi", count=5)),
    ],
    "export_graph.py": lambda given: ["--data", given.data, "--rounds", 5],
    "headline.py": lambda _: ["--check"],
    "latency.py": lambda given: [
        *(SMALL, *FRAME, "--threads", 1, "--frames", 5, "--repeats", 2, "--figure", given.out / "latency.png"),
    ],
    "box_voting.py": lambda given: [SMALL, "--data", given.data, "--power", 1, "--power", 3],
    "mean_weights.py": lambda given: [
        *(given.checkpoint, given.checkpoint, "--data", given.data, "-o", given.out / "mean.pth"),
    ],
    "near_duplicates.py": lambda given: [
        *("--learned", given.data / "train.json", "--learned", given.data / "val.json"),
        *("--measured", given.data / "val.json", "--sheet", given.out / "pairs.png"),
        *("--hashes", given.out / "hashes.npz"),
    ],
    "page.py": lambda _: ["--events", 20, "--requests", 10],
    "paced.py": lambda _: [SMALL, *FRAME, "--fps", 30, "--seconds", 1, "--repeats", 1],
    "recording.py": lambda _: [*FRAME, "--frames", 1000, "--samples", 10, "--pace", 2000],
    "peers.py": lambda given: [
        *("--data", given.data, "--limit", 2, "--rounds", 3, *FRAME, "--figure", given.out / "peers.png"),
    ],
    "shape_accuracy.py": lambda given: [
        *("--data", given.data, "--weights", given.weights, "--shape", "input 224", "--epochs", 1),
        *("--front-steps", 1),
    ],
    "shapes.py": lambda _: ["--rounds", 3, "--shape", "input 224"],
    "shards.py": lambda _: ["--images", 70, *FRAME],
    "soak.py": lambda given: [SMALL, "--frames", 40, "--figure", given.out / "soak.png"],
    "stages.py": lambda given: [
        *(SMALL, "--frame-size", "96x64", "--frame-size", "64x64", "--frames", 5, "--repeats", 2),
        *("--figure", given.out / "stages.png"),
    ],
    "startup.py": lambda _: [SMALL, "--repeats", 1],
    "train_in_minutes.py": lambda given: [
        *(given.data, "--minutes", 9, "--most-epochs", 1, "-o", given.out / "model.pth", "--batch", 2, "--imgsz", 64),
        *("--weights", given.weights, "--device", "cpu", "--workers", 0),
    ],
    "training.py": lambda given: [
        *("--data", given.data, "--batch", 2, "--imgsz", 64, "--rounds", 1, "--seconds", 0, "--device", "cpu"),
        *("--figure", given.out / "training.png"),
    ],
}
WITHOUT_JSON = ("headline.py",)
"""The script only checks and prints nothing."""
WITH_ITS_OWN_TEST = ("ablation.py", "event_latency.py", "held_out_source.py", "without_sources.py")
RUN_BY_MAKE = ("install_size.py",)
"""`make cost`, which CI runs, needs a package index."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision mobilenet_v2 state dict with random values."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.manual_seed(0)
    torch.save(mobilenet_v2(weights=None).state_dict(), path)
    return path


def run(script: str, arguments: list[object]) -> tuple[int, str, str]:
    """Run the script in this process, which avoids another import of torch."""
    result = CliRunner().invoke(APPS[script], [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.slow
def test_it_runs(
    script: str, tmp_path: Path, dataset_folder: Path, weights: Path, tiny_onnx: Path, tiny_checkpoint: Path
) -> None:
    arguments = SCRIPTS[script](Given(tmp_path, dataset_folder, weights, tiny_onnx, tiny_checkpoint))
    with_json = script not in WITHOUT_JSON
    code, stdout, stderr = run(script, [*arguments, *(["--json"] if with_json else [])])
    assert code == 0, stderr
    if with_json:
        document = json.loads(stdout, parse_constant=refuse)
        assert isinstance(document, dict)
        assert document
    else:
        assert stdout == ""
    for figure in (Path(str(argument)) for argument in arguments if str(argument).endswith(".png")):
        assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("script", APPS)
def test_it_starts_as_a_process_of_its_own(script: str) -> None:
    """Run it from the root of the repository, as the README does."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert script in done.stdout


@pytest.mark.slow
def test_the_ablation_writes_its_table(tmp_path: Path, dataset_folder: Path, weights: Path, tiny_onnx: Path) -> None:
    settings_file, page = tmp_path / "ablation.json", tmp_path / "page.md"
    arguments = [
        *("--data", dataset_folder, "--pseudo", dataset_folder / "train.json", "--teacher", tiny_onnx),
        *("--weights", weights, "--epochs", 1, "--imgsz", 64, "--only", "labels-only"),
        *("--project", tmp_path, "--results", settings_file, "--page", page),
    ]
    code, _, stderr = run("ablation.py", arguments)
    assert code == 0, stderr
    first = json.loads(settings_file.read_text())
    assert list(first["settings"]) == ["labels-only"]
    assert "neither teacher nor teacher-labeled images" in page.read_text()
    # Results of an earlier call stay beside the new ones.
    noted = {**first, "note": "Measured on a Sunday.", "settings": {"default": first["settings"]["labels-only"]}}
    settings_file.write_text(json.dumps(noted))
    code, _, stderr = run("ablation.py", arguments)
    assert code == 0, stderr
    assert set(json.loads(settings_file.read_text())["settings"]) == {"default", "labels-only"}
    assert "Measured on a Sunday." in page.read_text()


@pytest.mark.slow
def test_a_held_out_source_measures_and_is_not_learned_from(tmp_path: Path, weights: Path) -> None:
    images = write_coco(tmp_path / "data" / "images.json", count=24, seed=3)
    content = json.loads(images.read_text())
    for image in content["images"]:
        image["source"] = image["group"] if image["id"] % 3 else "har"
    images.write_text(json.dumps(content))
    arguments = [
        *("--data", images, "--hold-out", "yard", "--weights", weights, "--project", tmp_path / "runs"),
        *("--epochs", 1, "--imgsz", 64, "--per-source", 6, "--only", "base", "--only", "stated-terms"),
        *("--only", "copy-paste"),
    ]
    code, stdout, stderr = run("held_out_source.py", [*arguments, "--json"])
    assert code == 0, stderr
    assert list(json.loads(stdout)["settings"]) == ["base", "stated-terms", "copy-paste"]
    sets = tmp_path / "runs" / "sets"
    for setting, learned in (
        ("base", {"street": 6, "har": 6}),
        ("copy-paste", {"street": 6, "har": 6}),
        ("stated-terms", {"street": 6}),
    ):
        found = json.loads((sets / setting / "learned.json").read_text())["images"]
        assert {source: sum(one["source"] == source for one in found) for source in learned} == learned
        assert len(found) == sum(learned.values())
        assert {one["source"] for one in json.loads((sets / setting / "held_out.json").read_text())["images"]} == {
            "yard"
        }
    code, stdout, stderr = run("held_out_source.py", arguments)
    assert code == 0, stderr
    assert "| without the sources of unstated terms |" in stdout
    code, _, stderr = run("held_out_source.py", [*arguments, "--hold-out", "garden"])
    assert code != 0
    assert "has runs with other options or data; give another --project" in stderr
    elsewhere = ("--hold-out", "garden", "--project", tmp_path / "others")
    code, _, stderr = run("held_out_source.py", [*arguments, *elsewhere])
    assert code != 0
    assert "--hold-out garden: no image" in stderr


def test_images_of_a_source_are_left_out_and_the_others_are_learned_from_where_they_are(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "data" / "images.json", count=12, seed=3)
    content = json.loads(images.read_text())
    for image in content["images"]:
        image["source"] = "har" if image["id"] % 3 else "yard"
    images.write_text(json.dumps(content))
    out = tmp_path / "stated.json"
    code, stdout, stderr = run("without_sources.py", [images, "--without", "har", "-o", out, "--json"])
    assert code == 0, stderr
    before, kept = open_dataset(images, "train").images, open_dataset(out, "train").images
    assert json.loads(stdout) == {"file": str(out), "n_images": len(kept), "left_out": {"har": 12 - len(kept)}}
    expected = {one.path.absolute(): one for one in before if one.source == "yard"}
    assert 0 < len(expected) < 12
    assert {one.path for one in kept} == set(expected)
    for one in kept:
        np.testing.assert_array_equal(one.boxes_xyxy, expected[one.path].boxes_xyxy)
    code, _, stderr = run("without_sources.py", [images, "--without", "garden", "-o", out])
    assert code == 1
    assert "--without garden: no image is of it; there are har, yard" in stderr
    everything = ("--without", "har", "--without", "yard")
    code, _, stderr = run("without_sources.py", [images, *everything, "-o", out])
    assert (code, len(open_dataset(out, "train").images)) == (1, len(kept))


@pytest.mark.slow
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_the_latency_of_events_is_measured_with_a_broker() -> None:
    code, stdout, stderr = run("event_latency.py", [SMALL, *FRAME, "--seconds", 6, "--json"])
    assert code == 0, stderr
    document = json.loads(stdout)
    assert document["events"] > 0
    assert document["latency_ms"]["p50"] > 0


@pytest.mark.slow
def test_the_help_of_every_command_is_timed() -> None:
    code, stdout, stderr = run("startup.py", ["--commands", "--repeats", 1, "--json"])
    assert code == 0, stderr
    seconds = json.loads(stdout)["help_seconds"]
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(seconds) == set(scripts)
    assert min(seconds.values()) > 0
    code, _, stderr = run("startup.py", [SMALL, "--commands"])
    assert code == 2
    assert "--commands times the help" in stderr


def test_no_script_is_forgotten() -> None:
    scripts = {path.name for path in BENCHMARKS.glob("*.py")}
    assert scripts == set(APPS) == {*SCRIPTS, *WITH_ITS_OWN_TEST, *RUN_BY_MAKE}
    assert all(f"benchmarks/{script}" in (ROOT / "Makefile").read_text() for script in RUN_BY_MAKE)


def test_the_readme_has_a_paragraph_for_each() -> None:
    readme = (BENCHMARKS / "README.md").read_text()
    assert [script for script in APPS if f"**`{script}" not in readme] == []
