"""What labeling tools made of one folder of mmp-collect: the pre-labels went in, and came back without a correction.

`exports/` has the folder's labels.json, and what the tools wrote after they had read it or its tasks.json: Label Studio
1.23.2, a server whose project showed the images from the folder /srv/door, and the library by which CVAT reads and
writes COCO (github.com/cvat-ai/datumaro, 0.3). The folder had seven images of docs/media/door.mp4.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmpnet.adapt.collected_names import CollectedNames
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.media.images import write_image

EXPORTS = Path(__file__).parent / "exports"
NAMES = [f"door-{second:06d}000ms" for second in range(0, 13, 2)]


def with_images(folder: Path, names: list[str]) -> None:
    """Write blank images of these names, of the size of the video."""
    folder.mkdir(parents=True)
    for name in names:
        write_image(folder / f"{name}.jpg", np.zeros((360, 640, 3), np.uint8))


@pytest.fixture
def door(tmp_path: Path) -> Path:
    """The folder of mmp-collect, with blank images."""
    folder = tmp_path / "door"
    with_images(folder / "images", NAMES)
    shutil.copy(EXPORTS / "labels.json", folder)
    return folder


def boxes_by_name(dataset: Dataset, names: CollectedNames) -> dict[str, list[list[float]]]:
    return {names.plain(image.path): image.boxes_xyxy.round(1).tolist() for image in dataset.images}


@pytest.mark.parametrize("export", ["cvat_coco", "label_studio_coco"])
def test_an_export_without_images_finds_them_in_the_folder_above(door: Path, export: str) -> None:
    shutil.copytree(EXPORTS / export, door / "corrected")
    assert_as_collected(door, load_dataset([door / "corrected"], "train"))


def test_a_stated_path_to_a_folder_elsewhere_is_matched_by_its_longest_ending(door: Path) -> None:
    """Two cameras of one served folder; only the second one's image was exported."""
    for folder in ("cam1", "cam2"):
        with_images(door / "images" / folder, ["0001"])
    content = json.loads((EXPORTS / "label_studio_coco" / "result.json").read_text())
    content["images"], content["annotations"] = content["images"][:1], []
    for folder in ("cam2", "cam1"):
        content["images"][0]["file_name"] = f"../../srv/door/images/{folder}/0001.jpg"
        (door / "result.json").write_text(json.dumps(content))
        (image,) = load_dataset([door / "result.json"], "train").images
        assert image.path.parent.name == folder


@pytest.mark.parametrize("export", ["label_studio_coco_with_images", "label_studio_yolo_with_images"])
def test_an_export_with_images_has_them_under_other_names(door: Path, export: str, tmp_path: Path) -> None:
    corrected = tmp_path / "corrected"
    shutil.copytree(EXPORTS / export, corrected)
    labels = EXPORTS / "label_studio_yolo_with_images" / "labels"
    with_images(corrected / "images", [path.stem for path in labels.iterdir()])
    assert_as_collected(door, load_dataset([corrected], "train"))


def assert_as_collected(door: Path, corrected: Dataset) -> None:
    collected = load_dataset([door / "labels.json"], "train")
    names = CollectedNames([], collected.images, corrected.images)
    expected, found = boxes_by_name(collected, names), boxes_by_name(corrected, names)
    assert list(expected) == NAMES
    assert set(found) == set(expected)
    for name, boxes in expected.items():
        np.testing.assert_allclose(found[name], boxes, atol=0.11)
    assert sum(map(len, found.values())) == 4
    assert corrected.class_names == ("background", "person")
