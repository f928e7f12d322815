"""Interleaved measurements: programs are measured in turns, so that other load on the machine affects all alike."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")


def take_turns(
    turns: Sequence[Callable[[], Result]],
    *,
    rounds: int,
    seed: int = 0,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[list[Result]]:
    """Call each of `turns` once per round, in a new random order each round.

    turns: functions without arguments; each measures one program and returns the measurement.
    rounds: number of times that each one is called.
    seed: of the order; the same seed gives the same order.
    progress: receives the indices of all turns in order and yields them one by one; a progress bar does this.

    Returns the results of each turn, by round: result[i][r] is what turns[i] returned in round r.

    Raises: ValueError if rounds is negative.
    """
    if rounds < 0:
        raise ValueError(f"rounds must be 0 or more, got {rounds}")
    random = np.random.default_rng(seed)
    order = [int(index) for _ in range(rounds) for index in random.permutation(len(turns))]
    results: list[list[Result]] = [[] for _ in turns]
    for index in progress(order):
        results[index].append(turns[index]())
    return results


def timed_ms(run: Callable[[], object]) -> Callable[[], float]:
    """A turn that calls `run` twice and returns the second call's duration in ms.

    The first call loads the program's weights back into the caches, which the previous turn has filled with others.
    """

    def turn() -> float:
        run()
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1e3

    return turn
