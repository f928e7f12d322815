"""The first signal requests a stop; the effect of a second one depends on the signal."""

import os
import signal
import threading
from collections.abc import Collection, Iterator

import pytest

from mmpnet.system.signals import stop_on_signal


@pytest.fixture(autouse=True)
def received() -> Iterator[list[int]]:
    """Signals that the handlers from before the block receive."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    got: list[int] = []
    before = {number: signal.signal(number, lambda number, _: got.append(number)) for number in numbers}
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_hangup_is_a_wish_unless_nohup_had_it_ignored() -> None:
    before, heard = signal.getsignal(signal.SIGHUP), threading.Event()
    try:
        for handler, wished in ((lambda *_: heard.set(), True), (signal.SIG_IGN, False)):
            signal.signal(signal.SIGHUP, handler)
            stop = threading.Event()
            with stop_on_signal(stop):
                os.kill(os.getpid(), signal.SIGHUP)
                assert stop.wait(1) is wished
                assert not heard.is_set()
            assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("forceful", "expected"),
    [
        ((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), [signal.SIGINT, signal.SIGTERM]),
        ((signal.SIGINT,), [signal.SIGINT]),
        ((), []),
    ],
)
def test_after_the_first_signal_only_forceful_ones_act_as_before(
    received: list[int], first: signal.Signals, forceful: Collection[signal.Signals], expected: list[int]
) -> None:
    with stop_on_signal(threading.Event(), forceful=forceful) as stop:
        os.kill(os.getpid(), first)
        assert stop.is_set()
        assert received == []
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert received == expected
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [*expected, signal.SIGTERM], "the block's end gives every handler back"
