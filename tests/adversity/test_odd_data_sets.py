"""Odd data sets are read with the right numbers: sizes, boxes, pixels, and the accuracy of a detector that is right."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from adversity.odd_data_sets import SETS, STYLES
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.datasets.open import open_dataset, recognize
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.train.cli.train import app

CASES = [(name, style) for name in SETS for style in STYLES]


def around_bright(image_bgr: UInt8Array) -> tuple[int, int, int, int]:
    rows, cols = np.nonzero(image_bgr.min(axis=2) > 128)
    return int(cols.min()), int(rows.min()), int(cols.max() + 1), int(rows.max() + 1)


def find_bright(image_bgr: UInt8Array) -> Detections:
    box = np.array([around_bright(image_bgr)], np.float32)
    return Detections(box, np.ones(1, np.float32), np.ones(1, np.int64))


def by_name(dataset: Dataset) -> dict[str, tuple[tuple[int, int], list[int], tuple[int, int, int, int]]]:
    """Stated size, label and white rectangle of each image."""
    return {
        one.path.name: (one.image_hw, one.boxes_xyxy[0].round(3).tolist(), around_bright(one.read()))
        for one in dataset.images
    }


@pytest.mark.parametrize(("name", "style"), CASES)
def test_sizes_boxes_and_pixels_are_those_that_were_written(name: str, style: str, tmp_path: Path) -> None:
    written = SETS[name](tmp_path / "set", STYLES[style])
    assert recognize(tmp_path / "set").name == name
    expected = {one.name: (one.size_hw, list(one.box), one.box) for one in written}
    for split in ("train", "val"):
        dataset = open_dataset(tmp_path / "set", split)
        assert dataset.class_names == ("background", "person")
        assert by_name(dataset) == expected
        assert evaluate(find_bright, dataset, dataset.class_names).ap() == pytest.approx(1)


def test_images_are_those_of_pillow(tmp_path: Path) -> None:
    written = SETS["YOLO"](tmp_path / "set", STYLES["plain"])
    for one in open_dataset(tmp_path / "set", "train").images:
        if "16 bits" in one.path.name:
            continue  # Pillow clips them to 8 bits
        with Image.open(one.path) as opened:
            upright = ImageOps.exif_transpose(opened)
            reference = np.asarray(upright.convert("RGB"))[..., ::-1]
        assert reference.shape == one.read().shape
        assert np.abs(reference.astype(int) - one.read()).max() <= 24, one.path.name
    assert len(written) == 20


def check(root: Path, *options: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, ["--data", str(root), "--check", "--json", "--imgsz", "64", *options])
    return done.exit_code, json.loads(done.stdout)["train"]


@pytest.mark.parametrize("name", SETS)
def test_the_check_counts_what_is_there(name: str, tmp_path: Path) -> None:
    written = SETS[name](tmp_path / "set", STYLES["windows"])
    code, found = check(tmp_path / "set")
    assert (code, found["faults"]) == (0, [])
    assert (found["n_pictures"], found["n_without_boxes"], found["boxes_per_class"]) == (20, 0, {"person": 20})
    sizes = np.array([one.size_hw[::-1] for one in written])
    assert (found["min_wh"], found["max_wh"]) == (sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist())
    notes = found["notes"]
    assert isinstance(notes, list)
    assert [note for note in notes if note.startswith("7 images are turned or mirrored by EXIF")], notes


def without_image(root: Path, name: str) -> str:
    (image,) = root.rglob(name)
    image.unlink()
    return Path(name).stem


@pytest.mark.parametrize("name", SETS)
def test_each_label_without_an_image_is_one_fault(name: str, tmp_path: Path) -> None:
    SETS[name](tmp_path / "set", STYLES["plain"])
    stems = [without_image(tmp_path / "set", one) for one in ("cmyk.jpg", "palette.png")]
    code, found = check(tmp_path / "set")
    faults = found["faults"]
    assert isinstance(faults, list)
    assert code == 1
    assert len(faults) == 2
    assert all(any(stem in fault for fault in faults) for stem in stems)
    assert found["n_pictures"] == 18


@pytest.mark.parametrize("name", ["YOLO", "Pascal VOC"])
def test_copies_of_editors_and_systems_are_left_out(name: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    SETS[name](root, STYLES["plain"])
    for folder in [one for one in root.rglob("*") if one.is_dir() and any(part.is_file() for part in one.iterdir())]:
        (folder / ".ipynb_checkpoints").mkdir()
        for file in [one for one in folder.iterdir() if one.is_file()]:
            shutil.copy(file, folder / ".ipynb_checkpoints" / f"{file.stem}-checkpoint{file.suffix}")
            (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7")
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folder / "desktop.ini").write_text("[.ShellClassInfo]\n")
    code, found = check(root)
    assert (code, found["faults"], found["n_pictures"]) == (0, [], 20)
    assert found["boxes_per_class"] == {"person": 20}
