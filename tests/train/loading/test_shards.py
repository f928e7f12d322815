"""Training from shards is training from files: the same order, mosaics, weights and resumed runs."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.cli import actions
from mmpnet.train.cli.train import app
from mmpnet.train.run.start import resume_run, start_run
from support.interruption import stopped_after
from support.same_run import assert_same_run
from support.train_configs import changed


def pack(dataset: Path, folder: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["--data", str(dataset), "--pack", str(folder), *options], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.stderr
    return done.stderr


@pytest.fixture
def packed(dataset_folder: Path, tmp_path: Path) -> Path:
    said = pack(dataset_folder, tmp_path / "packed")
    assert "16 images to learn from, 6 images to validate on in 2 shards" in said
    return tmp_path / "packed"


def moved(config: TrainConfig, packed: Path) -> TrainConfig:
    return changed(config, train=(str(packed),), val=(str(packed / "val.json"),))


@pytest.mark.slow
def test_weights_are_those_of_training_from_files(tiny_train_config: TrainConfig, packed: Path, tmp_path: Path) -> None:
    config = changed(tiny_train_config, mosaic=0.6, mosaic_until=1.0, multi_scale=0.5, group_weights=(("yard", 3.0),))
    start_run(config, tmp_path / "files")
    from_shards = moved(changed(config, workers=1), packed)
    with stopped_after(3), pytest.raises(InterruptedRunError):
        start_run(from_shards, tmp_path / "shards")
    resume_run(tmp_path / "shards")
    assert_same_run(tmp_path / "files", tmp_path / "shards")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_is_cut_short_ends_the_run_with_its_own_line(
    tiny_train_config: TrainConfig, packed: Path, tmp_path: Path, workers: int
) -> None:
    shard = packed / "train-00000.tar"
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(DatasetError) as caught:
        start_run(moved(changed(tiny_train_config, workers=workers), packed), tmp_path / "run")
    assert str(caught.value).startswith(f"{shard}: is cut short: the image train_")
    assert "\n" not in str(caught.value)


def test_options_that_do_not_go_with_packing(dataset_folder: Path, tmp_path: Path) -> None:
    new, present = str(tmp_path / "new"), str(tmp_path)
    for arguments, said in (
        (["--pack", present], "exists; remove it, or choose another folder"),
        (["--pack", new, "--epochs", "3", "--check"], "--epochs, --check: --pack only copies images"),
        (["--pack-px", "64"], "--pack-px: goes with --pack FOLDER"),
        (["--pack", new, "--shards", "elsewhere"], "--shards elsewhere: expected an address"),
        (["--pack", new, "--shards", "s3://me:s3cret@bucket/a"], "a password is in an address of s3://; leave it out"),
        (["--pack", new, "--shards", "https://host/a?signature=1"], "https://host/a?...: what follows the question"),
        (["--pack", new, "--shards", "absent://bucket/a"], "absent://bucket/a/train-00000.tar: cannot be written"),
        (["--pack", str(dataset_folder / "train.json" / "new")], "is not a folder"),
    ):
        done = CliRunner().invoke(app, ["--data", str(dataset_folder), *arguments], env={"COLUMNS": "200"})
        assert done.exit_code in (1, 2)
        assert said in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "new").exists()


def test_what_another_pack_has_written_meanwhile_stays(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has begun while this one read its data."""
    folder, load = tmp_path / "new", load_dataset

    def beside_another(*arguments: Any, **options: Any) -> Dataset:
        folder.mkdir(exist_ok=True)
        (folder / "train-00000.tar").write_bytes(b"theirs")
        return load(*arguments, **options)

    monkeypatch.setattr(actions, "load_dataset", beside_another)
    done = CliRunner().invoke(app, ["--data", str(dataset_folder), "--pack", str(folder)], env={"COLUMNS": "300"})
    assert done.exit_code == 1
    assert "new: cannot be made (File exists); choose another folder" in done.stderr
    assert [path.read_bytes() for path in folder.iterdir()] == [b"theirs"]


def test_shards_behind_an_address_are_read_from_there(dataset_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    pack(dataset_folder, tmp_path / "labels", "--shards", f"file://{elsewhere}")
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["train.json", "val.json"]
    assert sorted(path.name for path in elsewhere.iterdir()) == ["train-00000.tar", "val-00000.tar"]
    packed, files = (open_dataset(folder, "train") for folder in (tmp_path / "labels", dataset_folder))
    assert [image.content() for image in packed.images] == [image.content() for image in files.images]
    (elsewhere / "train-00000.tar").unlink()
    with pytest.raises(DatasetError, match=r"^file://.*train-00000.tar: cannot be read \(.*\); check address"):
        packed.images[0].read()
