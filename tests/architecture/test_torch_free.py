"""The runtime works without torch, torchvision and onnx, and never imports them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "onnx"):
            raise ImportError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run_blocked(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter in which torch, torchvision and onnx are not installed."""
    command = [sys.executable, "-c", BLOCK + code, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["torch", "torchvision.ops", "onnx"])
def test_the_block_blocks(name: str) -> None:
    done = run_blocked(f"import {name}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: No module named")


def test_every_module_below_train_is_imported_without_torch() -> None:
    code = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module("mmpnet." + name)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""
    packages = [path.parent.name for path in (ROOT / "runtime" / "mmpnet").glob("*/__init__.py")]
    done = run_blocked(code, *packages)
    assert done.returncode == 0, done.stderr
    expected = {
        "mmpnet.contract.boxes",
        "mmpnet.cli.run.command",
        "mmpnet.evaluation.evaluate",
        "mmpnet.datasets.formats.voc",
    }
    assert expected <= set(done.stdout.split())


def test_an_image_is_detected_without_torch(tiny_onnx: Path, dataset_folder: Path) -> None:
    image = dataset_folder / "images" / "val_001.png"
    arguments = (tiny_onnx, "--source", image, "--json", "-", "--no-show", "--threads", "1")
    done = run_blocked("from mmpnet.cli.run.command import main; main()", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["detections"]) > 0


def test_an_exported_file_is_evaluated_without_torch(tiny_onnx: Path, dataset_folder: Path) -> None:
    code = "from mmpnet.train.cli.val import main; main()"
    done = run_blocked(code, tiny_onnx, "--data", dataset_folder, "--json", "--threads", "1")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert list(numbers)[:6] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert numbers["n_images"] == 6
    assert 0 <= numbers["AP"] <= numbers["AP50"] <= 1


def test_exported_files_are_compared_without_torch(tiny_onnx: Path, dataset_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny_onnx.read_bytes())
    sets = ("--data", dataset_folder / "train.json", "--data", dataset_folder / "val.json", "--by-source")
    code = "from mmpnet.train.cli.val import main; main()"
    done = run_blocked(code, tiny_onnx, other, *sets, "--json", "--threads", "1", "--bootstrap", "20")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [len(model["parts"]) for model in found["models"]] == [5, 5]
    assert found["differences"][0]["AP50"]["differs"] is False


def test_a_checkpoint_without_torch_is_one_error_line_that_names_the_extra(
    tiny_checkpoint: Path, dataset_folder: Path
) -> None:
    code = "from mmpnet.train.cli.val import main; main()"
    done = run_blocked(code, tiny_checkpoint, "--data", dataset_folder, "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tiny_checkpoint}: a checkpoint needs torch (missing: torch")
    assert "pip install 'mmpnet[train]'" in line
