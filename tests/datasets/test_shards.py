"""Images in shards are those of the files, with the same labels; what is wrong with a shard is one line."""

import json
import os
import resource
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError, OutputError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.pack import pack_split
from mmpnet.datasets.shards import ShardPart, write_shards
from mmpnet.datasets.statistics import check_files
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.error_analysis import Mistake, Mistakes
from mmpnet.evaluation.mistake_files import copy_mistakes
from support.coco_writer import write_coco

SHARD_BYTES = 100_000
PLACE = ("path", "shard")


def pack(dataset: Dataset, folder: Path) -> Dataset:
    pack_split(dataset, "train", folder, shard_bytes=SHARD_BYTES)
    return open_dataset(folder, "train")


@pytest.fixture
def files(dataset_folder: Path) -> Dataset:
    return open_dataset(dataset_folder, "train")


def assert_equal(packed: LabeledImage, image: LabeledImage) -> None:
    assert packed.content() == image.content()
    np.testing.assert_array_equal(packed.read(), image.read())
    for field in fields(LabeledImage):
        if field.name not in PLACE:
            np.testing.assert_array_equal(getattr(packed, field.name), getattr(image, field.name))


def test_packed_images_have_the_bytes_and_labels_of_the_files(files: Dataset, tmp_path: Path) -> None:
    packed = pack(files, tmp_path / "packed")
    assert packed.class_names == files.class_names
    assert [image.path.name for image in packed.images] == [image.path.name for image in files.images]
    for one, image in zip(packed.images, files.images, strict=True):
        assert_equal(one, image)
    assert len(sorted((tmp_path / "packed").glob("*.tar"))) > 2
    assert {path.suffix for path in (tmp_path / "packed").iterdir()} == {".json", ".tar"}


def test_labels_survive_to_the_last_bit(files: Dataset, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    content = json.loads((files.path).read_text())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x + random.random(), y + random.random(), width - 1 / 3, height - random.random()]
        annotation |= {
            "area": random.random() * 900,
            "score": random.uniform(0.01, 1),
            "iscrowd": int(random.integers(2)),
        }
    shutil.copytree(files.path.parent, tmp_path / "files")
    (tmp_path / "files" / "train.json").write_text(json.dumps(content))
    uneven = open_dataset(tmp_path / "files", "train")
    for one, image in zip(pack(uneven, tmp_path / "packed").images, uneven.images, strict=True):
        assert_equal(one, image)


def test_a_mix_keeps_the_names_of_its_parts_and_tells_equal_names_apart(tmp_path: Path) -> None:
    for name in "ab":
        write_coco(tmp_path / name / "train.json", count=3, seed=ord(name))
    mix = load_dataset([tmp_path / "a", tmp_path / "b"], "train", ["person"])
    packed = pack(mix, tmp_path / "packed")
    for one, image in zip(packed.images, mix.images, strict=True):
        assert_equal(one, image)
    assert packed.images[0].tags == ("street", "synthetic", "a/train.json")
    assert packed.images[3].path.name == "00000004-train_001.png"


def test_shards_are_plain_tar_files_the_same_each_time(files: Dataset, tmp_path: Path) -> None:
    pack(files, tmp_path / "one")
    pack(files, tmp_path / "two")
    for shard in sorted((tmp_path / "one").iterdir()):
        assert shard.read_bytes() == (tmp_path / "two" / shard.name).read_bytes()
        if shard.suffix == ".tar":
            with tarfile.open(shard) as archive:
                archive.extractall(tmp_path / "out", filter="data")
    for image in files.images:
        assert (tmp_path / "out" / image.path.name).read_bytes() == image.content()


def test_names_of_any_length_and_alphabet(tmp_path: Path) -> None:
    contents = [("a" * 300, b"1" * 700), ("ü/ß" * 60, b"2"), ("c", b"3" * 512)]

    class Shard:
        def __enter__(self) -> tuple[str, object]:
            self.file = (tmp_path / "a.tar").open("wb")
            return str(tmp_path / "a.tar"), self.file

        def __exit__(self, *_: object) -> None:
            self.file.close()

    parts = list(write_shards(contents, lambda _: Shard()))
    assert [part.read("") for part in parts] == [content for _, content in contents]


def test_smaller_copies_have_their_boxes_in_their_px(files: Dataset, tmp_path: Path) -> None:
    pack_split(files, "train", tmp_path / "packed", longest_px=64)
    for one, image in zip(open_dataset(tmp_path / "packed", "train").images, files.images, strict=True):
        assert one.read().shape == (48, 64, 3)
        assert one.path.suffix == ".webp"
        np.testing.assert_allclose(one.boxes_xyxy, image.boxes_xyxy / 2)
        small = cv2.resize(image.read(), (64, 48), interpolation=cv2.INTER_AREA)
        assert np.abs(one.read().astype(int) - small).mean() < 20


def truncate(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size // 2)


def flip(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)


def swap(shard: Path) -> None:
    shard.write_bytes(bytes(shard.stat().st_size))


def pipe(shard: Path) -> None:
    shard.unlink()
    os.mkfifo(shard)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "is cut short: the image"),
        (flip, "is damaged, or belongs to other labels: the bytes of the image train_001.png have changed"),
        (swap, "is damaged"),
        (Path.unlink, "cannot be read (No such file or directory); expected a shard of images"),
        (pipe, "it is a device, a pipe or a socket"),
    ],
)
def test_a_bad_shard_is_one_line_that_names_it(
    files: Dataset, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    packed = pack(files, tmp_path / "packed")
    spoil(tmp_path / "packed" / "train-00000.tar")
    faults = check_files(packed).faults
    assert 0 < len(faults) < len(packed.images)
    for fault in faults:
        assert "\n" not in fault
        assert str(tmp_path / "packed" / "train-00000.tar") in fault
    assert said in faults[0]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"path": "a.tar"}, "missing required field `offset`"),
        ({"path": "a.tar", "offset": -1, "size": 1, "crc32": 0}, ">= 0"),
        ({"path": "a.tar", "offset": 1 << 80, "size": 1, "crc32": 0}, "pack the images again"),
        ({"path": "a.tar", "offset": 0, "size": 1, "crc32": 0, "more": 1}, "unknown field `more`"),
    ],
)
def test_a_malformed_place_is_one_line(files: Dataset, tmp_path: Path, place: dict[str, object], said: str) -> None:
    pack(files, tmp_path / "packed")
    path = tmp_path / "packed" / "train.json"
    content = json.loads(path.read_text())
    content["images"][0]["shard"] = place
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path / "packed", "train")
    assert "train_001.png (image id 1): shard" in str(caught.value)
    assert said in str(caught.value)


def test_an_entry_that_asks_for_too_much_gets_no_memory(files: Dataset, tmp_path: Path) -> None:
    part = pack(files, tmp_path / "packed").images[0].shard
    assert part is not None
    with pytest.raises(DatasetError, match="is cut short"):
        ShardPart(part.shard, part.offset, 1 << 62, part.crc32).read("a.png")
    with pytest.raises(DatasetError, match="is cut short"):
        ShardPart(part.shard, 1 << 62, 10, part.crc32).read("a.png")
    with pytest.raises(DatasetError, match="null byte"):
        ShardPart("a\0b", 0, 10, 0).read("a.png")


def test_an_image_without_size_is_refused_and_other_keys_named_shard_are_not_ours(
    files: Dataset, dataset_folder: Path, tmp_path: Path
) -> None:
    pack(files, tmp_path / "packed")
    path = tmp_path / "packed" / "train.json"
    content = json.loads(path.read_text())
    del content["images"][0]["width"]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="has no width and height, which an image in a shard needs"):
        open_dataset(tmp_path / "packed", "train")
    content = json.loads((dataset_folder / "train.json").read_text())
    content["images"][0]["shard"] = "7 of 9"
    content["shards"] = 9
    shutil.copytree(dataset_folder, tmp_path / "files")
    (tmp_path / "files" / "train.json").write_text(json.dumps(content))
    assert open_dataset(tmp_path / "files", "train").images[0].shard is None


def test_a_damaged_image_is_not_packed(dataset_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset_folder, tmp_path / "files")
    os.truncate(tmp_path / "files" / "images" / "train_003.png", 900)
    with pytest.raises(DatasetError, match=r"train_003\.png: the image is cut short"):
        pack(open_dataset(tmp_path / "files", "train"), tmp_path / "packed")
    assert not list((tmp_path / "packed").iterdir())


def test_a_full_disk_is_one_line(files: Dataset, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"train-00000\.tar: cannot be written .*free space"):
            pack(files, tmp_path / "packed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "packed").iterdir())


def test_images_with_mistakes_are_copied_from_shards(files: Dataset, tmp_path: Path) -> None:
    packed = pack(files, tmp_path / "packed")
    box = np.array([1, 1, 9, 9], np.float32)
    miss = Mistake(index=2, class_id=1, xyxy=box, score=None, best_iou=0.0, kind="miss", reason="background")
    copy_mistakes(tmp_path / "copies", Mistakes(conf=0.3, false_positives=(), misses=(miss,), hits=0), packed)
    (copy,) = (tmp_path / "copies" / "images").iterdir()
    assert copy.read_bytes() == files.images[2].content()
