"""Training images from files and from shards: time of reading, speed and memory of a loader over one epoch.

The images are made for it. Their bytes differ, so that the page cache cannot serve one for the other; it serves all
that fit into memory, though, so `read` is the cost of the system calls unless the memory of the process is limited.
"""

import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from rich.table import Table

from harness.archive import resident_mb
from harness.frames import camera_frame, shifted_frames
from harness.limited_training import train_under_limit
from harness.script import FrameSize, Json, exit_on_error, progress_bar, progress_named, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.contract.letterbox import PAD_VALUE
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.pack import pack_split
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.loading.augment import AUGMENTATIONS
from mmpnet.train.loading.image_cache import StoredImages
from mmpnet.train.loading.loader import Recipe, TrainingImages, training_loader
from mmpnet.train.loading.sampling import EpochPlan, EpochSampler, image_weights

READ = 2_000
"""Images that are read for the time of reading alone."""

app = script_app()


@app.command()
def shards(
    images: Annotated[int, typer.Option(min=10, help="Number of images.")] = 4_000,
    frame_size: FrameSize = "1280x720",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes; with 0 all memory is of this one.")] = 0,
    train_limit_mb: Annotated[
        int, typer.Option(min=0, help="Also train an epoch from the shards with that much memory; 0: no.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Measure on images that are made for it, in a temporary folder."""
    torch.set_num_threads(1)
    with exit_on_error(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _write_files(folder / "files", images, frame_size)
        began_s = time.perf_counter()
        packed = pack_split(files, "train", folder / "packed", progress=progress_bar)
        packing_s = time.perf_counter() - began_s
        tracemalloc.start()
        from_shards = open_dataset(folder / "packed", "train")
        labels_kb = tracemalloc.get_traced_memory()[0] / 1e3 / images
        tracemalloc.stop()
        found = {
            what: _measured(what, dataset.images, workers)
            for what, dataset in (("files", files), ("shards", from_shards))
        }
        show(_table(found))
        size = {"images": images, "shards": packed.shards, "megabytes": round(packed.image_bytes / 1e6)}
        about: dict[str, Any] = {**size, "packing_s": round(packing_s, 1), "labels_kb_per_image": round(labels_kb, 2)}
        if train_limit_mb:
            about["training"] = train_under_limit(folder / "packed", limit_mb=train_limit_mb, work=folder / "runs")
        show(str(about))
        if as_json:
            write_json({"machine": machine_document(("torch",)), "frame_size": frame_size, **about, "measured": found})


def _write_files(folder: Path, count: int, frame_size: str) -> Dataset:
    """A data set of JPEG files with different bytes after the end of the image."""
    (folder / "images").mkdir(parents=True)
    encoded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in shifted_frames(camera_frame(frame_size))]
    width, height = map(int, frame_size.split("x"))
    entries, annotations = [], []
    for number in progress_bar(range(count), "writing files"):
        name = f"{number:08d}.jpg"
        (folder / "images" / name).write_bytes(encoded[number % len(encoded)] + number.to_bytes(8, "little"))
        entries.append({"id": number, "file_name": name, "width": width, "height": height})
        bbox = [width / 4, height / 4, width / 3, height / 2]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": bbox, "iscrowd": 0})
    categories = [{"id": 1, "name": "person"}]
    content = {"categories": categories, "images": entries, "annotations": annotations}
    (folder / "train.json").write_text(json.dumps(content))
    return open_dataset(folder, "train")


def _measured(what: str, images: Sequence[LabeledImage], workers: int) -> dict[str, Any]:
    order = np.random.default_rng(0).permutation(len(images))[:READ]
    began_s = time.perf_counter()
    for index in order:
        images[index].content()
    read_ms = 1e3 * (time.perf_counter() - began_s) / len(order)
    config = RECIPE
    recipe = Recipe(config.anchors, PAD_VALUE, config.loss.assignment, AUGMENTATIONS[config.loading.augmentation])
    stored = StoredImages(images, 2 * max(config.model.input_hw))
    plan = EpochPlan((config.model.input_hw,), mosaic=config.loading.mosaic)
    sampler = EpochSampler(image_weights(images, ()), plan, batch_size=config.loading.batch, seed=0, epoch=0)
    loader = training_loader(TrainingImages(images, stored, recipe), sampler, workers=workers, pin_memory=False)
    memory_mb: list[float] = []
    every = max(len(sampler) // 10, 1)
    began_s, batches = time.perf_counter(), iter(loader)
    for number in progress_named(f"an epoch from {what}")(range(len(sampler))):
        next(batches)
        if number % every == every - 1:
            memory_mb.append(round(resident_mb(), 1))
    speed = len(sampler) * config.loading.batch / (time.perf_counter() - began_s)
    load = round(os.getloadavg()[0], 1)
    return {"read_ms": round(read_ms, 3), "images_per_s": round(speed, 1), "memory_mb": memory_mb, "load": load}


def _table(found: dict[str, dict[str, Any]]) -> Table:
    table = Table("from", "ms to read an image", "images/s of the loader", "memory in MB at each tenth")
    for what, one in found.items():
        memory = " ".join(f"{value:.0f}" for value in one["memory_mb"])
        table.add_row(what, f"{one['read_ms']:.3f}", f"{one['images_per_s']:.1f}", memory)
    return table


if __name__ == "__main__":
    app()
