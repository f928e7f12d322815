"""Progress yields the steps one by one, in order, with or without a bar."""

import pytest

from mmpnet.console.progress import progress_bar
from mmpnet.system.progress import Progress, no_progress


@pytest.mark.parametrize("progress", [progress_bar, no_progress])
def test_the_steps_come_back_in_their_order(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(["a", "b", "c"], "counting")) == ["a", "b", "c"]
    assert capsys.readouterr().out == "", "stdout is for results"
