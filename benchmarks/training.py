"""How many pictures a second training takes in: the step alone, and with --data the loader alone and both together.

The step is mmp-train's, on batches that are there already; with --data these are real ones, and the loader takes its
pictures from the decoded cache and from their files. Everything takes turns, so that a noisy machine troubles all
alike; what is kept of the step's speed beside the loader is told round by round. Needs mmpnet[train]. Prints a table on
stderr and, with --json, one JSON document on stdout.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from latency import check_picture, machine
from training_batches import endless, picture_stores
from training_show import draw, show
from training_speeds import WARM_UP_STEPS, Loading, StepSpeed, held_batches, measure_loading, measure_steps
from training_step import CLASS_NAMES, Bench, exhaustion_as_training_error, step_config, synthetic_batch
from training_turns import Plan

from mmpnet.console.command import HELP_NAMES, exit_on_error
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.open import open_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.system.machine import cpu_name
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.cli.train import MAX_WORKERS
from mmpnet.train.engine.device import has_fast_bfloat16, resolve_device
from mmpnet.train.engine.malloc import keep_freed_memory

FREEZES = (0, 2, 4, 7)

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def training(
    data: Annotated[Path | None, typer.Option(help="Labelled pictures, as for mmp-train: the loader too.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="auto, cpu, cuda or cuda:N; may be repeated. Default: auto.")
    ] = None,
    freeze: Annotated[
        list[int] | None,
        typer.Option(help="Frozen backbone blocks. Default: 0; without --data 0 2 4 7, and it may be repeated."),
    ] = None,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32)] = 320,
    workers: Annotated[int | None, typer.Option(min=0, help="Loader processes; default: as mmp-train.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each kind.")] = 6,
    seconds: Annotated[float, typer.Option(min=0, help="Of each turn, after its warm-up.")] = 8.0,
    picture: Annotated[Path | None, typer.Option(help="Where a picture of it goes (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Images per second of the step alone; with --data of the loader alone and of both together."""
    with exit_on_error(), exhaustion_as_training_error():
        check_picture(picture)
        blocks = tuple(dict.fromkeys(freeze or (FREEZES if data is None else FREEZES[:1])))
        if data is not None and len(blocks) > 1:
            raise typer.BadParameter("--data goes with one --freeze; give one, or leave out --data")
        devices = _devices(device or ["auto"])
        configs = [
            [step_config(where, batch=batch, side_px=side_px, freeze=count) for count in blocks] for where in devices
        ]
        plan = Plan(rounds, seconds, min(os.cpu_count() or 1, MAX_WORKERS) if workers is None else workers)
        dataset = None if data is None else open_dataset(data, "train")
        rows: list[StepSpeed] | list[Loading]
        if dataset is None:
            rows = [row for of_device in configs for row in _steps(of_device, plan)]
        else:
            rows = [row for (config,) in configs for row in _loading(config, dataset, plan)]
        show(rows)
        if picture is not None:
            draw(picture, rows)
        if as_json:
            result = {
                "machine": machine(),
                "torch": str(torch.__version__),
                "devices": [_facts(where) for where in devices],
                "batch": batch,
                "imgsz": side_px,
                "freeze": blocks,
                **asdict(plan),
                "data": None if dataset is None else dataset.name,
                "rows": [asdict(row) for row in rows],
            }
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _devices(names: Sequence[str]) -> list[torch.device]:
    """Each once, the CPU last: no run on a GPU has memory handled as the CPU's step wants it.

    Raises: DeviceError for the first that is absent.
    """
    return sorted(dict.fromkeys(map(resolve_device, names)), key=lambda device: device.type == "cpu")


def _facts(device: torch.device) -> dict[str, str | int | bool]:
    on_gpu = device.type == "cuda"
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "bfloat16": has_fast_bfloat16(device),
        "threads": torch.get_num_threads(),
    }


def _steps(configs: Sequence[TrainConfig], plan: Plan) -> list[StepSpeed]:
    """The steps of one device, which differ in what is frozen."""
    batch = synthetic_batch(configs[0])
    benches = {}
    for config in configs:
        benches[config.freeze] = bench = _bench(config)
        bench.warm_up([batch] * WARM_UP_STEPS)
    return measure_steps(benches, batch, plan)


def _loading(config: TrainConfig, dataset: Dataset, plan: Plan) -> list[Loading]:
    """The loader with each store of pictures beside the step of one device.

    Raises: DatasetError for a bad picture, or fewer pictures than a batch.
    """
    count = len(dataset.images)
    if count < config.batch:
        raise DatasetError(f"{dataset.name} has {count} pictures, fewer than a batch; lower --batch {config.batch}")
    bench = _bench(config, dataset.class_names)
    side_px = config.imgsz[0]
    with picture_stores(dataset, side_px) as stores:
        loaders = {
            source: partial(
                endless,
                dataset,
                stored,
                batch=config.batch,
                side_px=side_px,
                workers=plan.workers,
                pin_memory=bench.device.type == "cuda",
            )
            for source, stored in stores.items()
        }
        held = held_batches(loaders["cache"])
        bench.warm_up(held)
        return measure_loading(bench, loaders, held, plan)


def _bench(config: TrainConfig, class_names: tuple[str, ...] = CLASS_NAMES) -> Bench:
    if config.device == "cpu":
        keep_freed_memory()
    return Bench(config, class_names)


if __name__ == "__main__":
    app()
