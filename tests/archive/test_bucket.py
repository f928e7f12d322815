"""Recordings and shards in a bucket of a server that speaks S3 give what files give."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.run import prepare_folder, run_archive
from mmpnet.contract.errors import DatasetError, SourceError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.pack import pack_split
from support.archives import Archive, in_this_process, rows_of
from support.s3_server import bucket

pytestmark = pytest.mark.slow


def run(archive: Archive, pattern: str, out: Path, *, resume: bool = False) -> int:
    """Detect in all recordings of the pattern; returns how many failed."""
    recordings = find_recordings([pattern])
    with prepare_folder(out, archive.model, archive.settings, resume=resume):
        return run_archive(recordings, out, in_this_process(out, archive.settings)).failed


def test_recordings_of_a_bucket_give_the_rows_of_files(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    local = tmp_path / "in" / "yard"
    local.mkdir(parents=True)
    (local / "clip.mkv").write_bytes((recordings_folder / "yard" / "clip.mkv").read_bytes())
    cv2.imwrite(str(local / "a.png"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert run(archive, str(local), tmp_path / "files") == 0
    with bucket("cameras") as system:
        system.put(str(local), "cameras/", recursive=True)
        assert run(archive, "s3://cameras/yard/", tmp_path / "out") == 0
        rows = [
            row | {"source": row["source"].replace("s3://cameras", str(tmp_path / "in"))}
            for row in rows_of(tmp_path / "out")
        ]
        assert rows == rows_of(tmp_path / "files")
        # A changed object is read again; one that is gone in the meantime is listed.
        system.pipe("cameras/yard/a.png", b"no image")
        assert run(archive, "s3://cameras/yard/*", tmp_path / "out", resume=True) == 1
        with pytest.raises(SourceError, match=r"^s3://absent/: cannot be listed|has no video or image"):
            find_recordings(["s3://absent/"])
    with pytest.raises(SourceError, match=r"^s3://cameras/yard/: cannot be listed \(.*\); check address and access$"):
        find_recordings(["s3://cameras/yard/"])


def test_shards_of_a_bucket_have_the_images_of_the_files(dataset_folder: Path, tmp_path: Path) -> None:
    files = open_dataset(dataset_folder, "train")
    with bucket("people") as system:
        pack_split(files, "train", tmp_path, address="s3://people/train/", shard_bytes=100_000)
        assert len(system.ls("people/train")) > 2
        packed = open_dataset(tmp_path, "train")
        assert [image.content() for image in packed.images] == [image.content() for image in files.images]
        shard = packed.images[0].shard
        assert shard is not None
        system.pipe(shard.shard, system.cat(shard.shard)[:1000])
        with pytest.raises(DatasetError, match=r"^s3://people/train/train-00000\.tar: is cut short: the image train_"):
            packed.images[0].read()
        system.rm(shard.shard)
        with pytest.raises(DatasetError, match=r"train-00000\.tar: cannot be read \(.*\); check address and access$"):
            packed.images[0].read()
