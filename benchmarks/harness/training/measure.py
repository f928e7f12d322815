"""Training steps of several frozen depths, or one step beside a loader with each store of images."""

from collections.abc import Sequence
from functools import partial

import torch

from harness.training.batches import endless, image_stores
from harness.training.speeds import (
    WARM_UP_STEPS,
    LoaderSpeed,
    StepSpeed,
    held_batches,
    measure_loading,
    measure_steps,
)
from harness.training.step import CLASS_NAMES, StepBench, StepWay, synthetic_batch
from harness.training.turns import TurnPlan
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.types import Dataset
from mmpnet.system.machine import cpu_name
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.engine.device import has_fast_bfloat16, resolve_device
from mmpnet.train.engine.malloc import keep_freed_memory


def resolve_devices(names: Sequence[str]) -> list[torch.device]:
    """Each device once, the CPU last: its settings of memory must not affect a run on a GPU.

    Raises: DeviceError for the first that is absent.
    """
    return sorted(dict.fromkeys(map(resolve_device, names)), key=lambda device: device.type == "cpu")


def device_facts(device: torch.device) -> dict[str, str | int | bool]:
    """A device's name, and how torch computes on it."""
    on_gpu = device.type == "cuda"
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "bfloat16": has_fast_bfloat16(device),
        "threads": torch.get_num_threads(),
    }


def step_speeds(ways: Sequence[StepWay], plan: TurnPlan) -> list[StepSpeed]:
    """The steps of one device, all on the same batch."""
    batch = synthetic_batch(ways[0].config)
    benches = [_bench(way) for way in ways]
    for bench in benches:
        bench.warm_up([batch] * WARM_UP_STEPS)
    return measure_steps(benches, batch, plan)


def loader_speeds(config: TrainConfig, dataset: Dataset, plan: TurnPlan) -> list[LoaderSpeed]:
    """The loader with each store of images beside the step of one device.

    Raises: DatasetError for an image that cannot be read, or fewer images than a batch.
    """
    count = len(dataset.images)
    size = config.loading.batch
    if count < size:
        raise DatasetError(f"{dataset.name} has {count} images, fewer than a batch; lower --batch {size}")
    bench = _bench(StepWay(config), dataset.class_names)
    side_px = config.model.input_hw[0]
    with image_stores(dataset, side_px) as stores:
        loaders = {
            source: partial(
                endless,
                dataset,
                stored,
                batch=size,
                side_px=side_px,
                workers=plan.workers,
                pin_memory=bench.device.type == "cuda",
            )
            for source, stored in stores.items()
        }
        held = held_batches(loaders["cache"])
        bench.warm_up(held)
        return measure_loading(bench, loaders, held, plan)


def _bench(way: StepWay, class_names: tuple[str, ...] = CLASS_NAMES) -> StepBench:
    if way.config.run.device == "cpu":
        keep_freed_memory()
    return StepBench(way, class_names)
