"""What mmp-train shows of a run."""

import io

import pytest
from rich.console import Console

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.train.cli.run_display import RunDisplay, coverage_table
from mmpnet.train.engine.callbacks import BatchProgress, EpochResult
from mmpnet.train.run.anchor_fit import coverage

ANCHORS = AnchorSpec(sizes_px=(16.0, 32.0), aspect_ratios=(1.0, 2.0), stride=8)


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(shown: io.StringIO) -> RunDisplay:
    return RunDisplay(Console(file=shown, width=200, force_terminal=False))


def test_the_table_has_a_row_for_every_size_even_without_boxes() -> None:
    assert coverage_table(coverage([], ANCHORS, (64, 64))).row_count == 4


def test_notices_and_finished_epochs_are_lines(display: RunDisplay, shown: io.StringIO) -> None:
    callbacks = display.callbacks()
    callbacks.notice("data: 16 images")
    training = callbacks.training
    training.started(3, 4, 0)
    training.batch_done(BatchProgress(1, 0.5, 0.25, 1e-3, 4))
    training.epoch_done(EpochResult(1, 0.5, 0.25, seconds=2.0, evaluation=None, is_best=True))
    training.ended()
    text = shown.getvalue()
    assert "data: 16 images" in text
    assert "epoch 1/3  cls 0.5000  box 0.2500" in text
    assert "2 s  best" in text


def test_progress_passes_on_every_step_inside_and_outside_of_training(display: RunDisplay) -> None:
    callbacks = display.callbacks()
    assert list(callbacks.progress(range(3), "decoding")) == [0, 1, 2]
    callbacks.training.started(2, 4, 4)
    assert list(callbacks.progress(["a", "b"], "evaluating")) == ["a", "b"]
    callbacks.training.ended()
    assert list(callbacks.progress([], "evaluating")) == []


def test_a_run_that_ends_before_its_first_batch_leaves_no_bar(display: RunDisplay) -> None:
    training = display.callbacks().training
    training.ended()
    training.started(1, 1, 0)
    training.ended()
    training.ended()
