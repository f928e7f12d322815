"""Files with random damage: each is rejected in one line, or read as something valid; nothing else may happen."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fuzz.mutations import SEEDS, mutated
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.load import load_dataset
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from support.coco_writer import write_coco
from support.frames import make_noise

pytestmark = pytest.mark.slow

YAML = "train: images\nval: images\nnames: [person, dog]\n"
ROWS = "0 0.5 0.5 0.25 0.25\n1 0.2 0.2 0.1 0.1 0.9\n"
XML = (
    "<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size><object>"
    "<name>person</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>33</xmax><ymax>44</ymax></bndbox></object></annotation>"
)
VIA = (
    '{"a.jpg99":{"filename":"a.jpg","size":99,"regions":[{"shape_attributes":{"name":"polygon","all_points_x":[1,5,9],'
    '"all_points_y":[2,8,4]},"region_attributes":{"class":"person"}}],"file_attributes":{}}}'
)


def outcome(read: Callable[[], object]) -> str | None:
    """The line with which something was rejected; None if it was read."""
    try:
        read()
    except MmpnetError as error:
        line = str(error)
        assert "\n" not in line
        return line
    return None


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with one image, in the layout of each label format."""
    for name in ("yolo/images", "yolo/labels", "voc/Annotations", "voc/JPEGImages", "via"):
        (tmp_path / name).mkdir(parents=True)
    frame = make_noise(seed=0, size_hw=(48, 64))
    for name in ("yolo/images/a.jpg", "voc/JPEGImages/a.jpg", "via/a.jpg"):
        cv2.imwrite(str(tmp_path / name), frame)
    (tmp_path / "yolo/data.yaml").write_text(YAML)
    (tmp_path / "yolo/labels/a.txt").write_text(ROWS)
    (tmp_path / "voc/Annotations/a.xml").write_text(XML)
    (tmp_path / "via/via_region_data.json").write_text(VIA)
    write_coco(tmp_path / "coco" / "train.json", count=3, seed=0)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("coco/train.json", "coco/train.json"),
        ("yolo/data.yaml", "yolo"),
        ("yolo/labels/a.txt", "yolo"),
        ("voc/Annotations/a.xml", "voc"),
        ("via/via_region_data.json", "via"),
    ],
)
def test_labels(files: Path, name: str, data: str) -> None:
    content = (files / name).read_bytes()
    assert outcome(lambda: load_dataset([files / data], "train")) is None, "undamaged"
    rejected = 0
    for seed in SEEDS:
        (files / name).write_bytes(mutated(content, seed))
        rejected += outcome(lambda: load_dataset([files / data], "train")) is not None
    assert rejected > 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_images(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), make_noise(seed=0, size_hw=(48, 64)))
    content = path.read_bytes()
    for seed in SEEDS:
        path.write_bytes(mutated(content, seed))
        outcome(lambda: read_image(path))


def test_models(tiny_onnx: Path, tmp_path: Path) -> None:
    """The hash in the file tells every damage, so no damaged file is run."""
    content, path = tiny_onnx.read_bytes(), tmp_path / "damaged.onnx"
    frame = make_noise(seed=1, size_hw=(48, 64))
    found = Detector(tiny_onnx, provider="cpu", threads=1)(frame)
    for seed in SEEDS:
        damaged = mutated(content, seed)
        path.write_bytes(damaged)

        def detect() -> None:
            again = Detector(path, provider="cpu", threads=1)(frame)
            assert np.array_equal(again.xyxy, found.xyxy)
            assert np.array_equal(again.score, found.score)

        assert outcome(detect) is not None or damaged == content


def test_checkpoints(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    shutil.copyfile(tiny_checkpoint, path)
    content = path.read_bytes()
    rejected = 0
    for seed in SEEDS:
        path.write_bytes(mutated(content, seed))
        rejected += outcome(lambda: load_checkpoint(path)) is not None
    assert rejected > len(SEEDS) // 2
