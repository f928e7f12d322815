"""Images per second: a training step alone, a loader alone, and both together."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from harness.training.step import StepBench
from harness.training.turns import Loader, TurnPlan, TurnResult, step_alone, turns_of_kinds, with_loader
from mmpnet.system.machine import usable_cores
from mmpnet.train.loading.loader import Batch

HELD_BATCHES = 4
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True)
class StepSpeed:
    """A step alone: images per second, median of the rounds; ratio: over the first one's of the same round, median.

    freeze: number of frozen blocks. compiled: by torch.compile. amp: in bfloat16 where the device computes in it.
    channels_last: with the channels of a pixel side by side in memory.
    """

    device: str
    freeze: int
    compiled: bool
    amp: bool
    channels_last: bool
    images_per_s: float
    ratio: float
    peak_gpu_mb: float | None


@dataclass(frozen=True, slots=True)
class LoaderSpeed:
    """A loader beside a step: images per second of each alone and of both together, medians of the rounds.

    kept: together over step alone of the same round, median; and of each round. waiting: share of the time together
    that the step waited for a batch. cores_allow: what would be kept if they shared the cores without any other loss.
    """

    device: str
    source: str
    loader_alone: float
    step_alone: float
    together: float
    kept: float
    kept_rounds: tuple[float, ...]
    waiting: float
    cores_allow: float
    peak_gpu_mb: float | None


def held_batches(loader: Loader) -> list[Batch]:
    """The first HELD_BATCHES batches, for a step that never waits."""
    with closing(loader()) as batches:
        return list(itertools.islice(batches, HELD_BATCHES))


def measure_steps(benches: Sequence[StepBench], batch: Batch, plan: TurnPlan) -> list[StepSpeed]:
    """Each bench on one batch over and over."""
    turns = turns_of_kinds(
        {str(number): step_alone(bench, [batch], plan) for number, bench in enumerate(benches)}, plan.rounds
    )
    return [
        StepSpeed(
            device=str(bench.device),
            freeze=bench.config.model.freeze,
            compiled=bench.config.run.compile,
            amp=bench.config.run.amp,
            channels_last=bench.way.channels_last,
            images_per_s=_median_speed(turns[str(number)]),
            ratio=statistics.median(_ratios(turns[str(number)], turns["0"])),
            peak_gpu_mb=bench.peak_gpu_mb,
        )
        for number, bench in enumerate(benches)
    ]


def measure_loading(
    bench: StepBench, loaders: Mapping[str, Loader], held: Sequence[Batch], plan: TurnPlan
) -> list[LoaderSpeed]:
    """Each loader beside the same step, which alone goes through the held batches over and over."""
    kinds = {"step": step_alone(bench, held, plan)}
    for source, loader in loaders.items():
        kinds[f"{source} alone"] = with_loader(loader, lambda _: None, bench, plan)
        kinds[f"{source} together"] = with_loader(loader, bench.step, bench, plan)
    turns = turns_of_kinds(kinds, plan.rounds)
    return [_loader_speed(source, turns, bench, plan) for source in loaders]


def cores_allow(step: float, loader: float, *, step_cores: float, loader_cores: float, cores: float) -> float:
    """The share of a step's images per second that is left beside a loader, if only the cores' time is shared.

    step, loader: images per second alone; step_cores, loader_cores: how many each keeps busy then, 0 for a loader
    without processes of its own, which the step has to wait for.
    """
    if not loader_cores:
        return 1 / (1 + step / loader)
    return min(1.0, loader / step, cores / (step_cores + loader_cores * step / loader))


def _loader_speed(
    source: str, turns: Mapping[str, Sequence[TurnResult]], bench: StepBench, plan: TurnPlan
) -> LoaderSpeed:
    step, alone, together = turns["step"], turns[f"{source} alone"], turns[f"{source} together"]
    kept, cores = _ratios(together, step), usable_cores()
    return LoaderSpeed(
        device=str(bench.device),
        source=source,
        loader_alone=_median_speed(alone),
        step_alone=_median_speed(step),
        together=_median_speed(together),
        kept=statistics.median(kept),
        kept_rounds=kept,
        waiting=statistics.median(turn.waiting for turn in together),
        cores_allow=cores_allow(
            _median_speed(step),
            _median_speed(alone),
            # A step on a GPU keeps the core busy that feeds it.
            step_cores=min(torch.get_num_threads(), cores) if bench.device.type == "cpu" else 1,
            loader_cores=min(plan.workers, cores),
            cores=cores,
        ),
        peak_gpu_mb=bench.peak_gpu_mb,
    )


def _median_speed(turns: Sequence[TurnResult]) -> float:
    return statistics.median(turn.images_per_s for turn in turns)


def _ratios(turns: Sequence[TurnResult], to: Sequence[TurnResult]) -> tuple[float, ...]:
    return tuple(one.images_per_s / other.images_per_s for one, other in zip(turns, to, strict=True))
