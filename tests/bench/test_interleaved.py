"""Interleaving: each turn runs once per round, in an order that the seed determines."""

import time
from collections.abc import Iterator, Sequence

import pytest

from mmpnet.bench.interleaved import take_turns, timed_ms


def order_of(names: str, *, rounds: int, seed: int) -> str:
    ran: list[str] = []

    def turn(name: str) -> str:
        ran.append(name)
        return f"{name}{ran.count(name)}"

    results = take_turns([lambda name=name: turn(name) for name in names], rounds=rounds, seed=seed)  # type: ignore[misc]
    assert results == [[f"{name}{number + 1}" for number in range(rounds)] for name in names]
    return "".join(ran)


def test_each_runs_once_in_every_round_in_an_order_that_the_seed_decides() -> None:
    ran = order_of("ABC", rounds=50, seed=0)
    rounds = {ran[index : index + 3] for index in range(0, 150, 3)}
    assert rounds == {"ABC", "ACB", "BAC", "BCA", "CAB", "CBA"}
    assert order_of("ABC", rounds=50, seed=0) == ran != order_of("ABC", rounds=50, seed=1)


def test_progress_receives_all_turns_and_paces_them() -> None:
    log: list[object] = []

    def progress(turns: Sequence[int]) -> Iterator[int]:
        log.append(sorted(turns))
        for index in turns:
            log.append(f"before {index}")
            yield index

    take_turns([lambda: log.append("ran 0"), lambda: log.append("ran 1")], rounds=2, progress=progress)
    assert log[0] == [0, 0, 1, 1]
    assert [entry.removeprefix("before ") for entry in log[1::2]] == [entry.removeprefix("ran ") for entry in log[2::2]]  # type: ignore[attr-defined]
    assert len(log) == 9


def test_no_round_and_no_turn_give_nothing() -> None:
    assert take_turns([lambda: 1], rounds=0) == [[]]
    assert take_turns([], rounds=3) == []
    with pytest.raises(ValueError, match="rounds must be 0 or more, got -1"):
        take_turns([lambda: 1], rounds=-1)


def test_the_second_of_two_calls_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    durations_s = iter([5.0, 0.25])

    def run() -> None:
        nonlocal now_s
        now_s += next(durations_s)

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    assert timed_ms(run)() == 250.0
