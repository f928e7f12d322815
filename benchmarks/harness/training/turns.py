"""Timed turns through batches: steps alone, a loader alone, and both together.

A turn warms up before it is timed, so that the loader's queue is about as full at the start as at the end; otherwise
the turn would get batches for free, or make batches that it does not use. Every turn opens the loader that it needs and
stops its processes, so that a step alone has all cores to itself.
"""

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from harness.script import progress_named
from harness.training.step import StepBench
from mmpnet.bench.interleaved import take_turns
from mmpnet.train.loading.loader import Batch

LEAST_STEPS = 3
PREFETCHED = 2
"""Batches that each of torch's loader processes makes ahead by default."""

Loader = Callable[[], Generator[Batch, None, None]]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """Turns of each kind, seconds of each (at least LEAST_STEPS steps), and processes of each loader."""

    rounds: int
    seconds: float
    workers: int


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one turn measured; waiting: the share of its time that was spent waiting for a batch."""

    images_per_s: float
    waiting: float


def step_alone(bench: StepBench, held: Sequence[Batch], plan: TurnPlan) -> Callable[[], TurnResult]:
    """A turn of steps on these batches, over and over."""
    return lambda: _timed(itertools.cycle(held), bench.step, bench, plan, warm_up=LEAST_STEPS)


def with_loader(
    loader: Loader, use: Callable[[Batch], None], bench: StepBench, plan: TurnPlan
) -> Callable[[], TurnResult]:
    """A turn with a loader of its own, which calls `use` on each batch."""

    def turn() -> TurnResult:
        with closing(loader()) as batches:
            return _timed(batches, use, bench, plan, warm_up=max(PREFETCHED * plan.workers + 1, LEAST_STEPS))

    return turn


def turns_of_kinds(kinds: Mapping[str, Callable[[], TurnResult]], rounds: int) -> dict[str, list[TurnResult]]:
    """Each kind once a round, in a seeded order."""
    results = take_turns(list(kinds.values()), rounds=rounds, progress=progress_named("turns"))
    return dict(zip(kinds, results, strict=True))


def _timed(
    batches: Iterator[Batch], use: Callable[[Batch], None], bench: StepBench, plan: TurnPlan, *, warm_up: int
) -> TurnResult:
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
    return TurnResult(images_per_s=images / spent_s, waiting=waited_s / spent_s)
