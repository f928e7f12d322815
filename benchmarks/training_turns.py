"""Turns at going through batches, timed for training.py.

A turn warms up before it is timed, so that the loader's queue is about as full at the start as at the end: batches made
before would be presents, and those left over would be another turn's cost. Every turn opens the loader that it needs
and ends its processes, so that a step alone has all cores to itself.
"""

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from rich.progress import track
from training_step import Bench

from mmpnet.console.command import console
from mmpnet.train.loading.loader import Batch

LEAST_STEPS = 3
PREFETCHED = 2
"""Batches that torch has each loader process make ahead, unless told otherwise."""

Loader = Callable[[], Generator[Batch, None, None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """So many turns of each kind, timed for so many seconds and at least LEAST_STEPS; loaders of so many processes."""

    rounds: int
    seconds: float
    workers: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn measured; waiting: the share of its time in which no batch was there."""

    images_per_s: float
    waiting: float


def step_alone(bench: Bench, held: Sequence[Batch], plan: Plan) -> Callable[[], Turn]:
    """A turn of steps on these batches, over and over."""
    return lambda: _timed(itertools.cycle(held), bench.step, bench, plan, warm_up=LEAST_STEPS)


def with_loader(loader: Loader, use: Callable[[Batch], None], bench: Bench, plan: Plan) -> Callable[[], Turn]:
    """A turn with a loader of its own, whose batches are used so."""

    def turn() -> Turn:
        with closing(loader()) as batches:
            return _timed(batches, use, bench, plan, warm_up=max(PREFETCHED * plan.workers + 1, LEAST_STEPS))

    return turn


def take_turns(kinds: Mapping[str, Callable[[], Turn]], rounds: int) -> dict[str, list[Turn]]:
    """Each kind once a round, in a seeded order, so that what else the machine does falls on all of them."""
    turns: dict[str, list[Turn]] = {name: [] for name in kinds}
    names, random = list(kinds), np.random.default_rng(0)
    order = [names[index] for _ in range(rounds) for index in random.permutation(len(names))]
    for name in track(order, description="turns", console=console(), transient=True):
        turns[name].append(kinds[name]())
    return turns


def _timed(batches: Iterator[Batch], use: Callable[[Batch], None], bench: Bench, plan: Plan, *, warm_up: int) -> Turn:
    for batch in itertools.islice(batches, warm_up):
        use(batch)
    bench.finish()
    images, waited_s = 0, 0.0
    started = now = time.perf_counter()
    for steps in itertools.count(1):
        batch = next(batches)
        waited_s += time.perf_counter() - now
        use(batch)
        images += len(batch.images_bgr)
        now = time.perf_counter()
        if steps >= LEAST_STEPS and now - started >= plan.seconds:
            break
    bench.finish()
    spent_s = time.perf_counter() - started
    return Turn(images_per_s=images / spent_s, waiting=waited_s / spent_s)
