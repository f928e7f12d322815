"""Whether loading pictures slows training down: the step on real batches against the same step on a synthetic one.

Rounds of steps with and without the loader take turns, so that a noisy machine troubles both alike. The loader draws
augmented pictures, half of them mosaics, from the decoded cache (and, for comparison, from the JPEG files), in as many
processes as asked. Needs mmpnet[train]. Prints a table on stderr and, with --json, one JSON document on stdout.
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from rich.table import Table
from training import STRIDE, Bench

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.preprocess import PAD_VALUE
from mmpnet.runtime.command import HELP_NAMES, exit_on_error, people
from mmpnet.runtime.datasets.recognise import open_dataset
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.train.augment import AUGMENTATIONS
from mmpnet.train.cache import CachedPictures, StoredPictures
from mmpnet.train.config import RECIPE
from mmpnet.train.device import resolve_device
from mmpnet.train.loader import Batch, Recipe, TrainingPictures, training_loader
from mmpnet.train.memory import keep_freed_memory
from mmpnet.train.sampling import EpochPlan, EpochSampler

STEPS_PER_ROUND = 6
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def endless(dataset: Dataset, stored: StoredPictures, *, batch: int, side_px: int, workers: int) -> Iterator[Batch]:
    """Batches, epoch after epoch."""
    anchors = AnchorSpec(sizes_px=RECIPE.sizes_px, aspect_ratios=RECIPE.aspect_ratios, stride=STRIDE)
    pictures = TrainingPictures(dataset.pictures, stored, Recipe(anchors, PAD_VALUE, "adaptive", AUGMENTATIONS["full"]))
    plan = EpochPlan(input_sizes=((side_px, side_px),), mosaic=0.5)
    for epoch in itertools.count():
        sampler = EpochSampler(np.ones(len(pictures)), plan, batch_size=batch, seed=0, epoch=epoch)
        yield from cast(Iterator[Batch], training_loader(pictures, sampler, workers=workers, pin_memory=False))


@app.command()
def loader(
    data: Annotated[Path, typer.Option(help="Labelled pictures, as for mmp-train.")],
    batch: Annotated[int, typer.Option(min=2)] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32)] = 320,
    freeze: Annotated[int, typer.Option(min=0, help="Frozen backbone blocks of the step.")] = 0,
    workers: Annotated[int, typer.Option(min=0)] = 1,
    rounds: Annotated[int, typer.Option(min=1)] = 6,
    device: Annotated[str, typer.Option()] = "auto",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Images per second: loader alone, step alone, both together."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        where = resolve_device(device)
        if where.type == "cpu":
            keep_freed_memory()
        dataset = open_dataset(data, "train")
        bench = Bench(freeze=freeze, batch=batch, side_px=side_px, device=where)
        cached = CachedPictures(dataset.pictures, 2 * side_px, Path(folder) / "pictures.cache")
        cached.fill()
        sources = {"cache": cached, "files": StoredPictures(dataset.pictures, 2 * side_px)}
        sizes = {"batch": batch, "side_px": side_px, "workers": workers}
        alone = {name: _loader_speed(endless(dataset, stored, **sizes), batch) for name, stored in sources.items()}
        batches = {name: endless(dataset, stored, **sizes) for name, stored in sources.items()}
        speeds: dict[str, list[float]] = {"step": [], "cache": [], "files": []}
        for turn in range(rounds + 1):
            for name in speeds:
                started = time.perf_counter()
                for _ in range(STEPS_PER_ROUND):
                    bench.step_s(None if name == "step" else next(batches[name]))
                if turn:  # the first round warms up
                    speeds[name].append(STEPS_PER_ROUND * batch / (time.perf_counter() - started))
        for iterator in batches.values():
            iterator.close()  # type: ignore[attr-defined]
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        ratios = {
            name: statistics.median(one / step for one, step in zip(speeds[name], speeds["step"], strict=True))
            for name in sources
        }
        table = Table("pictures from", "loader alone, images/s", "step with loader, images/s", "of the step alone")
        for name in sources:
            table.add_row(name, f"{alone[name]:.0f}", f"{medians[name]:.1f}", f"{ratios[name]:.1%}")
        people().print(table)
        people().print(f"step alone: {medians['step']:.1f} images/s")
        if as_json:
            facts = {"device": str(where), "threads": torch.get_num_threads(), "torch": str(torch.__version__)}
            settings = {**sizes, "freeze": freeze, "rounds": rounds, "data": dataset.name}
            results = {"loader_alone": alone, "step": medians, "of_step_alone": ratios}
            sys.stdout.write(json.dumps({**facts, **settings, **results}) + "\n")


def _loader_speed(batches: Iterator[Batch], batch: int) -> float:
    """Images per second with nothing else to do, without the start of the processes."""
    next(batches)
    started = time.perf_counter()
    for _ in range(STEPS_PER_ROUND):
        next(batches)
    return STEPS_PER_ROUND * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    app()
