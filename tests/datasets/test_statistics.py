"""Statistics are correct, and every fault in labels and files is found."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from mmpnet.cli.dataset_tables import check_dataset, print_statistics
from mmpnet.console.progress import progress_bar
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.statistics import QUANTILES, DatasetStatistics, dataset_statistics, shared_images
from mmpnet.datasets.types import Dataset
from support.drawn_images import WRITERS, Drawn

INPUT_HW = (192, 320)


@pytest.fixture
def random_set(tmp_path: Path) -> Dataset:
    """30 images of different sizes with boxes of two classes, some crowd, from a few px to most of the image."""
    random = np.random.default_rng(5)
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for number in range(30):
        height, width = (int(side) for side in random.integers(40, 900, 2))
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((height, width, 3), number, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for _ in range(int(random.integers(0, 6))):
            w, h = (float(side * random.uniform(0.01, 1) ** 2) for side in (width, height))
            x, y = float(random.uniform(0, width - w)), float(random.uniform(0, height - h))
            crowd = int(random.random() < 0.2)
            category = int(random.integers(1, 3))
            annotations.append({"image_id": number, "category_id": category, "bbox": [x, y, w, h], "iscrowd": crowd})
    content = {
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": images,
        "annotations": annotations,
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    return open_dataset(tmp_path / "train.json", "train")


def quantile(values: list[float], q: float) -> float:
    """Quantile by linear interpolation between the two nearest sorted values."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def test_numbers_agree_with_a_slow_reference(random_set: Dataset) -> None:
    counts = {"person": 0, "dog": 0, "cat": 0}
    crowd = 0
    sizes, ratios = [], []
    for image in random_set.images:
        transform = Letterbox(INPUT_HW).fit(image.image_hw)
        scale_y, scale_x = (r / f for r, f in zip(transform.resized_hw, transform.frame_hw, strict=True))
        for (x1, y1, x2, y2), class_id, is_crowd in zip(
            image.boxes_xyxy.tolist(), image.class_ids.tolist(), image.crowd.tolist(), strict=True
        ):
            if is_crowd:
                crowd += 1
                continue
            counts[random_set.class_names[class_id]] += 1
            w, h = (x2 - x1) * scale_x, (y2 - y1) * scale_y
            sizes.append(math.sqrt(w * h))
            ratios.append(h / w)
    found = dataset_statistics(random_set, input_hw=INPUT_HW)
    assert found.boxes_per_class == counts
    assert counts["cat"] == 0, "a class without boxes is listed all the same"
    assert found.n_crowd == crowd > 0
    assert found.n_images == 30
    assert found.n_without_boxes == sum(len(p.boxes_xyxy) == 0 for p in random_set.images) > 0
    widths, heights = ([p.image_hw[axis] for p in random_set.images] for axis in (1, 0))
    assert (found.min_wh, found.max_wh) == ((min(widths), min(heights)), (max(widths), max(heights)))
    assert [(one.from_px, one.to_px) for one in found.sizes][:3] == [(0, 8), (8, 16), (16, 32)]
    for one in found.sizes:
        upper = math.inf if one.to_px is None else one.to_px
        assert one.n_boxes == sum(one.from_px <= size < upper for size in sizes)
    assert sum(one.n_boxes for one in found.sizes) == len(sizes)
    assert sum(one.n_boxes > 0 for one in found.sizes) >= 4, "the test must fill several ranges"
    assert found.aspect_ratios == pytest.approx([quantile(ratios, q) for q in QUANTILES], rel=1e-4)
    assert found.files is None
    assert found.ok


def test_sizes_are_those_of_the_letterboxed_input(tmp_path: Path) -> None:
    path = WRITERS["gt_data"](tmp_path, [Drawn("a", (640, 640), [(0, 0, 32, 32)])])
    dataset = open_dataset(path, "train")
    for input_hw, from_px in (((640, 640), 32), ((320, 320), 16), ((160, 320), 8)):
        filled = [one.from_px for one in dataset_statistics(dataset, input_hw=input_hw).sizes if one.n_boxes]
        assert filled == [from_px]


def test_every_fault_of_labels_and_files_is_listed(tmp_path: Path, some_images: list[Any]) -> None:
    path = WRITERS["gt_data"](tmp_path, some_images)
    (path / "a1.gt_data.txt").write_text("1 1 0 0\n4 5 14 17\nx\n")
    (path / "c3.gt_data.txt").write_text("0 0 99 99\n")
    damaged = path / "b2.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    found = check_dataset([path], "train")
    assert not found.ok
    starts = [f"{path / 'a1.gt_data.txt'}:1: ", f"{path / 'a1.gt_data.txt'}:3: ", f"{path / 'c3.gt_data.txt'}:1: "]
    assert len(found.all_faults) == 4
    for fault, start in zip(found.all_faults, [*starts, f"{damaged}: the image is cut short"], strict=True):
        assert fault.startswith(start)
    assert found.boxes_per_class == {"person": 1}, "what is not faulty is counted"
    with pytest.raises(DatasetError, match=r"a1\.gt_data\.txt:1"):
        load_dataset([path], "train")


def test_an_image_of_another_size_than_its_entry_is_a_fault(tmp_path: Path, some_images: list[Any]) -> None:
    path = WRITERS["COCO JSON"](tmp_path, some_images)
    cv2.imwrite(str(path / "images" / "b2.png"), np.zeros((21, 20, 3), np.uint8))
    assert open_dataset(path, "train"), "its header is not looked at where the entry states the size"
    (fault,) = check_dataset([path], "train").all_faults
    assert "b2.png: is 20x21 px, but its entry states 20x20" in fault


def test_a_set_in_which_nothing_is_right_still_lists_all(tmp_path: Path, some_images: list[Any]) -> None:
    path = WRITERS["COCO JSON"](tmp_path, some_images)
    shutil.rmtree(path / "images")
    found = check_dataset([path], "train")
    assert found.n_images == 0
    assert [name in fault for name, fault in zip(("a1", "b2", "c3"), found.faults, strict=False)] == [True] * 3
    assert "no images" in found.faults[3]
    assert found.min_wh is None
    assert found.aspect_ratios == ()


def test_images_that_are_there_twice_are_named(tmp_path: Path, some_images: list[Any]) -> None:
    train = WRITERS["gt_data"](tmp_path / "train", some_images)
    val = WRITERS["gt_data"](tmp_path / "val", some_images[:1])
    for suffix in (".png", ".gt_data.txt"):
        shutil.copy(train / f"b2{suffix}", train / f"d4{suffix}")
    found = check_dataset([tmp_path], "train")
    assert found.ok, "a copy is a warning"
    assert found.files is not None
    assert found.files.copies == (f"{train / 'd4.png'}: is the same image as {train / 'b2.png'}",)
    watched = check_dataset([tmp_path], "val")
    (shared,) = shared_images(found, watched)
    assert str(val / "a1.png") in shared
    assert str(train / "a1.png") in shared
    with pytest.raises(ValueError, match="verify_files"):
        shared_images(found, dataset_statistics(open_dataset(val, "train")))


def test_several_datasets_and_classes_are_checked_as_they_are_trained_on(
    tmp_path: Path, some_images: list[Any]
) -> None:
    paths = [WRITERS[name](tmp_path / name, some_images) for name in ("gt_data", "YOLO", "Penn-Fudan")]
    found = check_dataset(paths, "train", ["human=person"])
    assert found.ok
    assert found.boxes_per_class == {"human": 9}
    assert found.name == "gt_data + YOLO/train + Penn-Fudan"


def shown(found: DatasetStatistics) -> str:
    console = Console(file=io.StringIO(), width=200, soft_wrap=True, markup=False, highlight=False)
    print_statistics(console, found)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_scan_is_shown_and_written_as_json(random_set: Dataset) -> None:
    found = dataset_statistics(
        random_set, input_hw=INPUT_HW, verify_files=True, faults=["labels.txt:3: [bold]no[/bold] box"]
    )
    text = shown(found)
    for expected in ("images without boxes", "boxes of person", "192x320", "256 and more", "50% of boxes below"):
        assert expected in text
    assert "fault: labels.txt:3: [bold]no[/bold] box" in text
    assert "1 fault" in text.splitlines()[-1]
    document = json.loads(json.dumps(found.as_dict()))
    assert document["n_pictures"] == 30
    assert document["boxes_per_class"] == found.boxes_per_class
    assert document["sizes"][0] == {"from_px": 0, "to_px": 8, "n_boxes": found.sizes[0].n_boxes}
    assert document["aspect_ratios"]["0.5"] == found.aspect_ratios[2]
    assert document["faults"] == list(found.faults)
    assert document["files_checked"] is True
    assert "no faults" in shown(dataset_statistics(random_set))


def test_images_without_contrast_and_turned_images_are_counted(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1))
    exif = b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", ramp)[1].tobytes()
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    cv2.imwrite(str(tmp_path / "thermal.png"), ramp.astype(np.uint16) * 2 + 7000)
    cv2.imwrite(str(tmp_path / "night.png"), ramp // 40 + 3)
    cv2.imwrite(str(tmp_path / "usual.png"), ramp)
    for name in ("turned", "thermal", "night", "usual"):
        (tmp_path / f"{name}.gt_data.txt").write_text("1 1 9 9\n")
    found = check_dataset([tmp_path], "train")
    dull, turned = found.as_dict()["notes"]
    assert f"1 image has fewer than 8 gray levels, such as {tmp_path / 'night.png'}" in dull
    assert f"1 image is turned or mirrored by EXIF, such as {tmp_path / 'turned.jpg'}" in turned
    assert found.ok
    assert f"note: {dull}" in shown(found)


def test_names_with_brackets_are_no_markup(tmp_path: Path) -> None:
    folder = tmp_path / "a["
    WRITERS["COCO JSON"](folder, [Drawn("a", (30, 40), [(4, 5, 14, 17)])])
    (folder / "train.json").rename(folder / "b].json")
    (folder / "c[").mkdir()
    (folder / "c[" / "red].json").write_text((folder / "b].json").read_text())
    for name in ("b].json", "c[/red].json"):
        assert check_dataset([folder / name], "train").ok
        assert [*progress_bar([1, 2], f"reading {folder / name}")] == [1, 2]
