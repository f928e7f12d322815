"""File names are bytes: those that are no UTF-8 are read by every format, and never reach an encoder of JSON."""

import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import well_formed_values
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.transform import mix
from mmpnet.train.distillation.ensemble import Ensemble
from mmpnet.train.distillation.pseudo_labels import (
    ask_teachers,
    images_sha256,
    load_teacher_labels,
    save_teacher_labels,
)
from mmpnet.train.distillation.teacher import OpenedTeacher
from support.drawn_images import WRITERS, Drawn

BAD, OTHER = os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe8")
IMAGES = [Drawn("cafe", (30, 40), [(4, 5, 14, 17)])]


@pytest.mark.parametrize(
    "name", ["YOLO", "Pascal VOC", "Pascal VOC beside", "gt_data", "Penn-Fudan", "COCO JSON", "VIA"]
)
def test_every_format_reads_such_a_name_and_its_hash_differs(name: str, tmp_path: Path) -> None:
    hashes = set()
    for index, renamed in enumerate((BAD, OTHER)):
        path = WRITERS[name](tmp_path / f"set{index}" / renamed, IMAGES)
        root = path if path.is_dir() else path.parent
        for file in [one for one in root.rglob("cafe*") if one.is_file()]:
            file.rename(file.with_name(file.name.replace("cafe", renamed)))
        for file in root.rglob("*.json"):
            file.write_text(file.read_text().replace("cafe.", json.dumps(renamed)[1:-1] + "."))
        dataset = open_dataset(path, "train")
        assert dataset.images[0].path.stem == renamed
        assert dataset.images[0].boxes_xyxy.tolist() == [[4, 5, 14, 17]]
        assert "caf?" in dataset.name, "the name goes into the metadata of exported files"
        hashes.add(dataset.sha256)
        assert len(mix([dataset, dataset]).sha256) == 64
    assert len(hashes) == 2


def test_teacher_labels_of_such_images_can_be_stored(tmp_path: Path) -> None:
    images = open_dataset(WRITERS["gt_data"](tmp_path, [Drawn(BAD, (30, 40), [])]), "train").images
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    teacher = OpenedTeacher(f"{BAD}.onnx", (lambda _: none,), frozenset({1}), has_free_input=False)
    labels = ask_teachers(Ensemble((teacher,), flip=False, sha256="0"), images, ("background", "person"))
    save_teacher_labels(tmp_path / "teacher.json", labels)
    stored = load_teacher_labels(tmp_path / "teacher.json", images, ("background", "person"))
    assert stored.images_sha256 == images_sha256(images)
    assert stored.teachers == ("caf?.onnx",)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4, "\ud800": 3}]},
        {"images": [{"id": "\ud800", "file_name": "a.png", "width": 4, "height": 4}]},
        {"images": [{"id": 1, "file_name": "\ud800.png", "width": 4, "height": 4}]},
        {"categories": [{"id": 1, "name": "\ud800"}]},
        {"\ud800": 1, "images": 3},
    ],
)
def test_half_a_surrogate_pair_in_a_coco_file_is_a_fault(tmp_path: Path, changes: dict[str, object]) -> None:
    content = {"categories": [{"id": 1, "name": "person"}], "images": [], **changes}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"a\.json: ") as caught:
        read_coco(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("region", [{"\ud800": 1}, {"shape_attributes": {"name": "\ud800"}}, {"region_attributes": 3}])
def test_half_a_surrogate_pair_in_a_via_file_is_a_fault(tmp_path: Path, region: dict[str, object]) -> None:
    folder = WRITERS["VIA"](tmp_path, IMAGES)
    (path,) = folder.glob("via_*.json")
    content = json.loads(path.read_text())
    (entry,) = content.values()
    entry["regions"] = [region]
    path.write_text(json.dumps(content))
    faults = Faults(collect=True)
    open_dataset(folder, "train", faults)
    assert any("regions" in fault for fault in faults.found)


def test_a_json_document_holds_text_only() -> None:
    value = {"a": (BAD, [1, None, 2.5]), BAD: {"b": True}}
    assert msgspec.json.decode(msgspec.json.encode(well_formed_values(value))) == {
        "a": ["caf?", [1, None, 2.5]],
        "caf?": {"b": True},
    }
